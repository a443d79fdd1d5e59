"""The section `web`: not open to the network by accident, no password in the clear."""

from pathlib import Path

import pytest

from rtseg_daemon.config.file import parse_config
from rtseg_daemon.config.web import Role
from rtseg_daemon.errors import ConfigError

TLS = "tls: {certificate: c.pem, key: k.pem}"


def parse(web: str) -> object:
    return parse_config(f"web: {{{web}}}", Path("/etc/rtseg/config.yaml")).web


@pytest.mark.parametrize(
    ("web", "sentence"),
    [
        ("host: 0.0.0.0", "opens the dashboard to the network without TLS"),
        ("host: 10.0.0.5, names: [a]", "opens the dashboard to the network without TLS"),
        ("host: '::', names: [a]", "opens the dashboard to the network without TLS"),
        (f"host: 0.0.0.0, {TLS}", "say under which names"),
        ("proxies: [127.0.0.1]", "say under which names"),
        ("oidc: {issuer: 'http://i.example', client_id: a, roles: {g: viewer}}", "https"),
        ("oidc: {issuer: 'https://i.example', client_id: a}", "which groups"),
        ("oidc: {issuer: 'https://i.example', client_id: a, roles: {g: root}}", "viewer"),
        ("ldap: {url: 'ldap://d.example', search_base: dc=x, roles: {g: viewer}}", "in the clear"),
        ("ldap: {url: 'http://d.example', search_base: dc=x, roles: {g: viewer}}", "ldaps://"),
        ("ldap: {url: 'ldaps://d', search_base: dc=x, filter: '(uid=*)', roles: {g: viewer}}", "{name}"),
        ("ldap: {url: 'ldaps://d', search_base: dc=x, bind_dn: cn=x, roles: {g: viewer}}", "belong together"),
        ("ldap: {url: 'ldaps://d', search_base: dc=x}", "which groups"),
    ],
)
def test_what_would_be_unsafe_is_refused_with_a_sentence(web: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match="web") as refused:
        parse(web)
    assert sentence in str(refused.value)


@pytest.mark.parametrize(
    "web",
    [
        "host: 127.0.0.1",
        "host: '::1'",
        f"host: 0.0.0.0, names: [a.example], {TLS}",
        "host: 10.0.0.5, names: [a.example], proxies: [10.0.0.4]",
        "enabled: false, host: 0.0.0.0",
        "ldap: {url: 'ldap://d.example', starttls: true, search_base: dc=x, roles: {g: viewer}}",
    ],
)
def test_what_is_safe_is_taken(web: str) -> None:
    parse(web)


def test_a_role_includes_those_before_it() -> None:
    assert [[a.includes(b) for b in Role] for a in Role] == [[i >= j for j in range(4)] for i in range(4)]

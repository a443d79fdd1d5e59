"""The section `web` of the configuration: where the dashboard listens, and how people prove who they are."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from rtseg_daemon.config.sections import Section
from rtseg_daemon.config.values import Port, Seconds

LOOPBACK = frozenset(("localhost", "127.0.0.1", "::1"))


class Role(StrEnum):
    """What a person or program may do. Each may do what those before it may."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    PHYSICIST = "physicist"
    ADMIN = "admin"

    def includes(self, other: "Role") -> bool:
        """Whether who has this role may do what `other` may."""
        ranks = list(Role)
        return ranks.index(self) >= ranks.index(other)


def check_issuer(value: str) -> str:
    """An issuer is an https address. Over plain http anybody on the way could answer in its name."""
    parts = urlsplit(value)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
        raise ValueError("an issuer is an https address, such as https://login.hospital.example/realms/physics")
    if not parts.hostname or parts.query or parts.fragment:
        raise ValueError("an issuer is an address without ? and #")
    return value


def check_directory_url(value: str) -> str:
    """`ldaps://host`, or `ldap://host` where STARTTLS follows or the directory is on this machine."""
    parts = urlsplit(value)
    if parts.scheme not in ("ldap", "ldaps") or not parts.hostname:
        raise ValueError("write ldaps://directory.hospital.example, or ldap:// with starttls: true")
    return value


class WebTls(Section):
    """The dashboard's own certificate, with those between it and its CA, and its key."""

    certificate: Path
    key: Path


class Oidc(Section):
    """Login by an OpenID Connect provider. `roles`: value of the claim `roles_claim` -> role."""

    issuer: Annotated[str, AfterValidator(check_issuer)]
    client_id: Annotated[str, Field(min_length=1)]
    client_secret_file: Path | None = None
    scopes: tuple[str, ...] = ("openid", "profile")
    name_claim: str = "preferred_username"
    roles_claim: str = "groups"
    roles: dict[str, Role] = Field(default_factory=dict)
    ca: Path | None = None

    @model_validator(mode="after")
    def names_a_role(self) -> Self:
        if not self.roles:
            raise ValueError("say which groups may do what: roles: {physicists: physicist}")
        return self


class Ldap(Section):
    """Login by a directory. A person is searched for by `filter`, then the directory checks the password.

    `roles`: DN of a group that `groups_attribute` of the person names -> role.
    """

    url: Annotated[str, AfterValidator(check_directory_url)]
    starttls: bool = False
    ca: Path | None = None
    bind_dn: str | None = None
    bind_password_file: Path | None = None
    search_base: Annotated[str, Field(min_length=1)]
    filter: str = "(uid={name})"
    name_attribute: str = "uid"
    groups_attribute: str = "memberOf"
    roles: dict[str, Role] = Field(default_factory=dict)
    seconds: Seconds = 5

    @model_validator(mode="after")
    def can_be_used_safely(self) -> Self:
        parts = urlsplit(self.url)
        if parts.scheme == "ldap" and not self.starttls and parts.hostname not in LOOPBACK:
            raise ValueError("a password is not sent in the clear; write ldaps://, or starttls: true")
        if "{name}" not in self.filter:
            raise ValueError("filter says how a person is found, with {name} where the name stands: (uid={name})")
        if (self.bind_dn is None) != (self.bind_password_file is None):
            raise ValueError("bind_dn and bind_password_file belong together")
        if not self.roles:
            raise ValueError("say which groups may do what: roles: {'cn=physics,dc=hospital,dc=example': physicist}")
        return self


class Web(Section):
    """The dashboard. `names`: what browsers call it. `proxies`: addresses of reverse proxies that end TLS before it."""

    enabled: bool = True
    host: str = "127.0.0.1"
    port: Port = 8080
    names: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    proxies: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    tls: WebTls | None = None
    idle_minutes: Seconds = 30
    session_hours: Seconds = 12
    oidc: Oidc | None = None
    ldap: Ldap | None = None

    @property
    def exposed(self) -> bool:
        """Whether others than this machine may reach it."""
        return self.host not in LOOPBACK or bool(self.proxies)

    @property
    def secure(self) -> bool:
        """Whether browsers reach it by https alone."""
        return self.tls is not None or bool(self.proxies)

    @model_validator(mode="after")
    def is_not_open_to_the_network(self) -> Self:
        if not self.enabled or not self.exposed:
            return self
        if not self.secure:
            raise ValueError(
                f"host: {self.host} opens the dashboard to the network without TLS; add tls with certificate and key, "
                "or name the reverse proxy under proxies, or keep host: 127.0.0.1"
            )
        if not self.names:
            raise ValueError("say under which names browsers reach the dashboard: names: [rtseg.hospital.example]")
        return self

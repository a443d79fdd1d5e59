"""Login by a directory (LDAP): the person is searched for, then the directory itself checks the password."""

import math
import re
import ssl
from typing import Any

import ldap3
from ldap3.core.exceptions import LDAPException, LDAPSASLPrepError
from ldap3.core.results import RESULT_SIZE_LIMIT_EXCEEDED, RESULT_SUCCESS
from ldap3.utils.conv import escape_filter_chars
from ldap3.utils.dn import parse_dn

from rtseg_daemon.config.web import Ldap, Role
from rtseg_daemon.logs import log
from rtseg_daemon.web.people.groups import best_role, foreign_name, texts
from rtseg_daemon.web.people.refusals import Away, Forbidden

ESCAPED = re.compile(rb"\\([0-9A-Fa-f]{2}|.)", re.DOTALL)


def connect(ldap: Ldap, user: str | None, password: str | None) -> Any:
    """A connection that is not bound yet, over TLS where the section says so."""
    tls = ldap3.Tls(validate=ssl.CERT_REQUIRED, version=ssl.PROTOCOL_TLS_CLIENT, ca_certs_file=ca_of(ldap))
    seconds = math.ceil(ldap.seconds)  # ldap3 packs it into a socket option, which takes whole numbers alone
    server = ldap3.Server(ldap.url, tls=tls, connect_timeout=seconds, get_info=ldap3.NONE)
    return ldap3.Connection(
        server,
        user,
        password,
        read_only=True,
        receive_timeout=seconds,
        auto_referrals=False,
        raise_exceptions=False,
    )


def ca_of(ldap: Ldap) -> str | None:
    """Who signed the directory's certificate, else those whom the system knows."""
    return str(ldap.ca) if ldap.ca is not None else ssl.get_default_verify_paths().cafile


def bound(ldap: Ldap, user: str | None, password: str | None) -> Any:
    """A bound connection, or None where the directory does not take the password."""
    connection = connect(ldap, user, password)
    if ldap.starttls and not connection.start_tls():
        raise Away("the directory does not speak STARTTLS")
    return connection if connection.bind() else None


def look_up(ldap: Ldap, typed: str, password: str) -> tuple[str, Role] | None:
    """Name and role of who has this name and password, or None.

    Raises Away where the directory cannot be asked, Forbidden where no group of the person has a role here. An empty
    password is never asked for: a directory takes it for somebody who wants to stay unknown, and says yes.
    """
    if not password or not typed.strip():
        return None
    try:
        entry = found_entry(ldap, typed.strip())
        if entry is None or not is_password(ldap, entry["dn"], password):
            return None
    except (LDAPException, OSError) as error:
        log().error("the directory cannot be asked", exc_info=error)
        raise Away("the directory cannot be asked now; try again, or log in with an account of this service") from error
    attributes = entry["attributes"]
    name = foreign_name("ldap", next(iter(texts(attributes.get(ldap.name_attribute))), None))
    role = best_role(map(same_dn, texts(attributes.get(ldap.groups_attribute))), roles_of(ldap))
    if name is None or role is None:
        raise Forbidden("the directory knows you, but none of your groups has a role here")
    return name, role


def is_password(ldap: Ldap, dn: str, password: str) -> bool:
    """Whether the directory takes this password of this person. One that no password can be is nobody's."""
    try:
        connection = bound(ldap, dn, password)
    except LDAPSASLPrepError:
        return False
    if connection is not None:
        connection.unbind()
    return connection is not None


def found_entry(ldap: Ldap, typed: str) -> Any:
    """The one person of that name, or None. A name that fits several is nobody's."""
    secret = ldap.bind_password_file.read_text().strip() if ldap.bind_password_file else None
    connection = bound(ldap, ldap.bind_dn, secret)
    if connection is None:
        raise Away("the directory does not take the password in web.ldap.bind_password_file")
    asked = ldap.filter.replace("{name}", escape_filter_chars(typed))
    connection.search(ldap.search_base, asked, attributes=[ldap.name_attribute, ldap.groups_attribute], size_limit=2)
    entries = [one for one in connection.response or [] if one.get("type") == "searchResEntry"]
    result = connection.result
    connection.unbind()
    if result["result"] not in (RESULT_SUCCESS, RESULT_SIZE_LIMIT_EXCEEDED):
        log().error("the directory refuses to search in web.ldap.search_base", answer=result["description"])
        raise Away(f"the directory refuses to search ({result['description']}); see web.ldap.search_base")
    return entries[0] if len(entries) == 1 else None


def roles_of(ldap: Ldap) -> dict[str, Role]:
    return {same_dn(group): role for group, role in ldap.roles.items()}


def same_dn(group: str) -> str:
    """A distinguished name so that two spellings of one are equal. What is none stays as it is."""
    try:
        parts = parse_dn(group, strip=True)
    except LDAPException:
        return group.lower()
    return "".join(f"{attribute.strip()}={plain(value)!r}{end}" for attribute, value, end in parts).lower()


def plain(value: str) -> str:
    """A value without the escapes that each directory writes in its own way: `a\\,b` is `a\\2Cb`."""

    def octet(found: re.Match[bytes]) -> bytes:
        return bytes.fromhex(found[1].decode()) if len(found[1]) == 2 else found[1]

    return ESCAPED.sub(octet, value.encode()).decode(errors="replace").strip()

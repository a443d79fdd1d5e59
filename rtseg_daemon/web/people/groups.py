"""From the groups of a directory or provider to a role here, and to a name that no local account can have."""

from collections.abc import Iterable, Mapping

from rtseg_daemon.config.web import Role

LONGEST = 128


def best_role(groups: Iterable[str], roles: Mapping[str, Role]) -> Role | None:
    """The highest role that one of the groups gives, or None where none gives one."""
    found = {roles[group] for group in groups if group in roles}
    return max(found, key=list(Role).index) if found else None


def texts(value: object) -> list[str]:
    """The texts in what a provider sent: one, several, or none at all."""
    values = value if isinstance(value, list) else [value]
    return [one for one in values if isinstance(one, str)]


def foreign_name(source: str, value: object) -> str | None:
    """`source:name` in small letters, or None for what is no name. A colon is in no local account's name."""
    if not isinstance(value, str):
        return None
    name = value.strip().lower()
    return f"{source}:{name}" if 0 < len(name) <= LONGEST and name.isprintable() else None

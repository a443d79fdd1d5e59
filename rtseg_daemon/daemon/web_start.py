"""What must be true before the dashboard is opened: usable files, and somebody who can log in."""

import contextlib
import sys
import time
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from rtseg_daemon.config.file import Config
from rtseg_daemon.config.web import Web
from rtseg_daemon.errors import ConfigError, LedgerError
from rtseg_daemon.ledger.engine import open_ledger, reading, writing
from rtseg_daemon.ledger.migrate import require_current
from rtseg_daemon.ledger.sqlite_file import database_file
from rtseg_daemon.logs import log
from rtseg_daemon.web.people.first_start import account_count, invitation, new_link
from rtseg_daemon.web.safety.transport import web_context

NO_ACCOUNT = (
    "web.host or web.proxies open the dashboard to the network, and nobody can log in yet: start once with "
    "web.host: 127.0.0.1 and no proxies, make an account by `rtseg-daemon users add NAME --role admin`, then open it; "
    "or set web.oidc or web.ldap"
)


def check_web(web: Web) -> None:
    """Raise ConfigError where a file that the dashboard needs cannot be used."""
    if not web.enabled:
        return
    if web.tls is not None:
        web_context(web.tls)
    for key, path in secret_files(web):
        if not path.is_file():
            raise ConfigError(
                f"{key}: there is no file {path}; put the secret in it, for the service user alone (0600)"
            )


def secret_files(web: Web) -> list[tuple[str, Path]]:
    """The files with secrets and certificates of those whom we ask about people, by their keys."""
    oidc, ldap = web.oidc, web.ldap
    found = [
        ("web.oidc.client_secret_file", oidc.client_secret_file if oidc else None),
        ("web.oidc.ca", oidc.ca if oidc else None),
        ("web.ldap.bind_password_file", ldap.bind_password_file if ldap else None),
        ("web.ldap.ca", ldap.ca if ldap else None),
    ]
    return [(key, path) for key, path in found if path is not None]


def needs_accounts(web: Web) -> bool:
    """Whether the dashboard is open to the network and only local accounts can log in."""
    return web.enabled and web.exposed and web.oidc is None and web.ldap is None


def require_accounts(config: Config, engine: Engine) -> None:
    """Raise ConfigError where the dashboard would be open to the network with nobody who can log in."""
    if needs_accounts(config.web):
        with reading(engine) as session:
            if account_count(session) == 0:
                raise ConfigError(NO_ACCOUNT)


def check_accounts(config: Config) -> None:
    """The same for `config check`, where there may be no ledger yet. Raises ConfigError."""
    if not needs_accounts(config.web):
        return
    file = database_file(config.database_url)
    if file is not None and not file.is_file():
        raise ConfigError(NO_ACCOUNT)
    engine = open_ledger(config.database_url, existing=True)
    try:
        require_current(engine)
        require_accounts(config, engine)
    except (SQLAlchemyError, LedgerError) as error:
        raise ConfigError(f"web: whether there is an account cannot be told without the ledger: {error}") from error
    finally:
        engine.dispose()


def invite_first_admin(config: Config, engine: Engine) -> None:
    """Print the one-time link where there is no account. The log only says that it was printed."""
    now = time.time()
    with writing(engine) as session:
        link = new_link(session, config.web, now)
    if link is not None:
        log().info("no account yet; a one-time link for the first admin was printed on standard output")
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.write(invitation(link, now))
            sys.stdout.flush()

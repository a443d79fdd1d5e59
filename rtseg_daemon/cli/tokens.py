"""`rtseg-daemon tokens ...`: which programs may ask the dashboard."""

import time
from typing import Annotated

import typer

from rtseg_daemon.cli.common import AsJson, ConfigFile, open_existing, print_done, print_json, print_table, who
from rtseg_daemon.cli.users import RoleOption
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.web.people import tokens

app = typer.Typer(
    help="Tokens, by which programs ask the dashboard.\n\nExample: rtseg-daemon tokens create grafana --role viewer",
    no_args_is_help=True,
)

Name = Annotated[str, typer.Argument(help="Name of the token.", show_default=False)]


@app.command()
def create(name: Name, role: RoleOption, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Make a token and print it alone. It is shown this once, since only its digest is kept.

    Example: rtseg-daemon tokens create grafana --role viewer
    """
    ledger = open_existing(config)
    with writing(ledger.engine) as session:
        token = tokens.create_token(session, name, role, who(), time.time())
    print_done({"name": name, "role": role.value, "token": token}, token, as_json)


@app.command("list")
def list_tokens(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """All tokens, also those that were revoked, and when each was last used, to the hour.

    Example: rtseg-daemon tokens list
    """
    ledger = open_existing(config)
    with reading(ledger.engine) as session:
        shapes = [tokens.token_shape(token) for token in tokens.tokens(session)]
    if as_json:
        return print_json(shapes)
    columns = ("name", "role", "created_by", "created_at", "used_at", "revoked_at")
    return print_table("tokens", columns, [[shape[column] for column in columns] for shape in shapes])


@app.command()
def revoke(name: Name, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """From now on the token counts no more.

    Example: rtseg-daemon tokens revoke grafana
    """
    ledger = open_existing(config)
    with writing(ledger.engine) as session:
        shape = tokens.token_shape(tokens.revoke_token(session, name, who(), time.time()))
    print_done(shape, f"{name} counts no more", as_json)

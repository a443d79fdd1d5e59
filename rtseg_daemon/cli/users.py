"""`rtseg-daemon users ...`: who may log in to the dashboard with a password of its own."""

import sys
import time
from typing import Annotated

import typer

from rtseg_daemon.cli.common import AsJson, ConfigFile, open_existing, print_done, print_json, print_table, who
from rtseg_daemon.config.web import Role
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.web.people import accounts
from rtseg_daemon.web.people.first_start import forget_link

app = typer.Typer(
    help="Accounts of the dashboard.\n\nExample: rtseg-daemon users add ann --role physicist", no_args_is_help=True
)

Name = Annotated[str, typer.Argument(help="Name of the account.", show_default=False)]
RoleOption = Annotated[Role, typer.Option("--role", help="What the person may do.", show_default=False)]
FromStdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from standard input, one line.")]


def password_from(stdin: bool) -> str:
    """The password, from a pipe or asked for twice at the terminal. It is never an argument, which all users can see.

    Raises typer.BadParameter where there is no terminal to ask at.
    """
    if stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        raise typer.BadParameter("there is no terminal to ask at; say --password-stdin", param_hint="--password-stdin")
    return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True))


@app.command()
def add(
    name: Name, role: RoleOption, password_stdin: FromStdin = False, config: ConfigFile = None, as_json: AsJson = False
) -> None:
    """Make an account. The password is asked for, or read from standard input.

    Example: rtseg-daemon users add ann --role physicist
    """
    ledger = open_existing(config)
    password = password_from(password_stdin)
    with writing(ledger.engine) as session:
        account = accounts.add_account(session, name, role, password, who(), time.time())
        forget_link(session)
        shape = accounts.account_shape(account)
    print_done(shape, f"{shape['name']} is {shape['role']}", as_json)


@app.command("list")
def list_accounts(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """All accounts. People of a directory or an OpenID Connect provider have none here.

    Example: rtseg-daemon users list
    """
    ledger = open_existing(config)
    with reading(ledger.engine) as session:
        shapes = [accounts.account_shape(account) for account in accounts.accounts(session)]
    if as_json:
        return print_json(shapes)
    columns = ("name", "role", "created_at", "changed_at")
    return print_table("accounts", columns, [[shape[column] for column in columns] for shape in shapes])


@app.command()
def remove(name: Name, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Remove an account and end its sessions. The last admin stays.

    Example: rtseg-daemon users remove ann
    """
    ledger = open_existing(config)
    with writing(ledger.engine) as session:
        shape = accounts.account_shape(accounts.remove_account(session, name, who(), time.time()))
    print_done(shape, f"{shape['name']} is removed", as_json)


@app.command()
def password(name: Name, password_stdin: FromStdin = False, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Set another password. All sessions of the account end.

    Example: rtseg-daemon users password ann
    """
    ledger = open_existing(config)
    given = password_from(password_stdin)
    with writing(ledger.engine) as session:
        shape = accounts.account_shape(accounts.set_password(session, name, given, who(), time.time()))
    print_done(shape, f"{shape['name']} has another password", as_json)


@app.command("role")
def change_role(name: Name, role: RoleOption, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Give an account another role, from its next request on. The last admin stays one.

    Example: rtseg-daemon users role ann --role admin
    """
    ledger = open_existing(config)
    with writing(ledger.engine) as session:
        shape = accounts.account_shape(accounts.set_role(session, name, role, who(), time.time()))
    print_done(shape, f"{shape['name']} is {shape['role']}", as_json)

"""`rtseg-daemon users` and `tokens`."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from rtseg_daemon.cli.tokens import app as tokens_app
from rtseg_daemon.cli.users import app as users_app
from rtseg_daemon.errors import PeopleError
from rtseg_daemon.ledger.engine import reading
from rtseg_daemon.ledger.people import Account, ApiToken
from rtseg_daemon.web.people.passwords import matches
from rtseg_daemon.web.place import Place
from tests.dashboard import PASSWORD, browser, make_place


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return make_place(tmp_path)


def run(place: Place, app: object, *words: str, stdin: str = "") -> Result:
    config = place.layout.directory.parent / "config.yaml"
    found = CliRunner().invoke(app, [*words, "--config", str(config)], input=stdin)  # type: ignore[arg-type]
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise found.exception
    return found


def test_an_account_is_added_listed_changed_and_removed(place: Place) -> None:
    added = run(place, users_app, "add", "Ann", "--role", "viewer", "--password-stdin", "--json", stdin=PASSWORD + "\n")
    assert json.loads(added.output)["name"] == "ann"
    run(place, users_app, "add", "bea", "--role", "admin", "--password-stdin", stdin=PASSWORD)
    assert (
        json.loads(run(place, users_app, "role", "ann", "--role", "physicist", "--json").output)["role"] == "physicist"
    )
    listed = json.loads(run(place, users_app, "list", "--json").output)
    assert [(one["name"], one["role"]) for one in listed] == [("ann", "physicist"), ("bea", "admin")]
    run(place, users_app, "password", "ann", "--password-stdin", stdin="another long sentence\n")
    with reading(place.engine) as session:
        assert matches(session.get_one(Account, "ann").password_hash, "another long sentence")
    run(place, users_app, "remove", "ann")
    assert [one["name"] for one in json.loads(run(place, users_app, "list", "--json").output)] == ["bea"]


def test_a_password_is_asked_for_at_a_terminal_alone(place: Place) -> None:
    refused = run(place, users_app, "add", "ann", "--role", "viewer", stdin=PASSWORD)
    assert refused.exit_code == 2
    assert "--password-stdin" in refused.output


@pytest.mark.parametrize("bad", ["short", "a" * 300, "aaaaaaaaaaaa", "ann-is-the-best", ""])
def test_a_password_that_is_too_plain_is_refused(place: Place, bad: str) -> None:
    with pytest.raises(PeopleError, match="password"):
        run(place, users_app, "add", "ann", "--role", "viewer", "--password-stdin", stdin=bad)


@pytest.mark.parametrize("bad", ["", "a b", "../x", "daemon", "worker-0-12", "a" * 65, "oidc:ann", "ann\x1b[1m", "änn"])
def test_a_name_that_no_account_can_have_is_refused(place: Place, bad: str) -> None:
    with pytest.raises(PeopleError, match="name"):
        run(place, users_app, "add", bad, "--role", "viewer", "--password-stdin", stdin=PASSWORD)


def test_the_last_admin_cannot_be_removed_or_made_less(place: Place) -> None:
    run(place, users_app, "add", "ann", "--role", "admin", "--password-stdin", stdin=PASSWORD)
    for words in (("remove", "ann"), ("role", "ann", "--role", "viewer")):
        with pytest.raises(PeopleError, match="last admin"):
            run(place, users_app, *words)


def test_a_token_is_printed_alone_and_only_its_digest_is_kept(place: Place) -> None:
    token = run(place, tokens_app, "create", "grafana", "--role", "viewer").output.strip()
    assert token.startswith("rtseg_")
    assert "\n" not in token
    with reading(place.engine) as session:
        kept = session.get_one(ApiToken, "grafana")
        assert token not in str(vars(kept))
    assert token.encode() not in (place.layout.directory / "rtseg.db").read_bytes()
    assert token not in run(place, tokens_app, "list", "--json").output


def test_a_revoked_tokens_name_is_not_given_again(place: Place) -> None:
    run(place, tokens_app, "create", "grafana", "--role", "viewer")
    run(place, tokens_app, "revoke", "grafana")
    listed = json.loads(run(place, tokens_app, "list", "--json").output)
    assert listed[0]["revoked_at"] is not None
    with pytest.raises(PeopleError, match="another name"):
        run(place, tokens_app, "create", "grafana", "--role", "viewer")
    with pytest.raises(PeopleError, match="no token"):
        run(place, tokens_app, "revoke", "grafana")


def test_an_account_that_was_added_can_log_in(place: Place) -> None:
    run(place, users_app, "add", "ann", "--role", "viewer", "--password-stdin", stdin=PASSWORD)
    answer = browser(place).post("/login", data={"name": " Ann ", "password": PASSWORD})
    assert answer.status_code == 303

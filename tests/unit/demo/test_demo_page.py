"""The way from the end of the demo to the case's page."""

from pathlib import Path
from urllib.parse import urlsplit

import pytest

from rtseg_daemon.config.file import load_config
from rtseg_daemon.config.web import Role
from rtseg_daemon.demo.play import DemoError, case_page, free_ports, login_link, write_config
from rtseg_daemon.ledger.engine import open_ledger
from rtseg_daemon.storage import Layout
from rtseg_daemon.web.place import Place
from tests.dashboard import browser, empty_ledger, make_account


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The demo's configuration, and an empty ledger where it looks for one."""
    path = write_config(tmp_path, *free_ports(3))
    layout = Layout(load_config(path).storage.directory)
    layout.create()
    (layout.directory / "rtseg.db").write_bytes(empty_ledger())
    return path


def place_of(config: Path) -> Place:
    settings = load_config(config)
    return Place(settings, Layout(settings.storage.directory), open_ledger(settings.database_url))


def test_the_link_that_the_demo_prints_leads_to_the_first_account(config: Path) -> None:
    link, place = urlsplit(login_link(config)), place_of(config)
    assert browser(place).get(link.path).status_code == 200
    assert link.netloc == urlsplit(case_page(config, 1)).netloc
    assert case_page(config, 7).endswith("/cases/7")
    place.engine.dispose()


def test_no_link_is_printed_where_somebody_has_an_account(config: Path) -> None:
    place = place_of(config)
    make_account(place, "anna", Role.ADMIN)
    with pytest.raises(DemoError, match="has an account already"):
        login_link(config)
    place.engine.dispose()


def test_the_ports_of_the_demo_are_not_the_same() -> None:
    assert len(set(free_ports(3))) == 3

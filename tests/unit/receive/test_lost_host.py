"""Images of a lost host come again at another one: they are kept there, or refused for now, never thrown away."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian
from sqlalchemy import Engine, select, update

from rtseg_daemon.cluster.exchange import Exchange
from rtseg_daemon.cluster.files import HostFiles
from rtseg_daemon.cluster.place import address_of
from rtseg_daemon.cluster.shelf import Shelf
from rtseg_daemon.daemon.compared import compare_storage
from rtseg_daemon.dicom.contexts import STRUCTURE_SETS
from rtseg_daemon.dicom.dimse import decode_command
from rtseg_daemon.dicom.wire import PeerLimits
from rtseg_daemon.errors import ExchangeError, HostAway
from rtseg_daemon.ledger import hosts
from rtseg_daemon.ledger.cluster_tables import Host
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.feedback_tables import ReturnedSet
from rtseg_daemon.ledger.schema import Instance, Series
from rtseg_daemon.ledger.states import InstanceState, SeriesState
from rtseg_daemon.receive.comparison import Comparison
from rtseg_daemon.receive.decoding import Decoder
from rtseg_daemon.receive.group_commit import GroupCommit
from rtseg_daemon.receive.intake import Intake
from rtseg_daemon.receive.sender import Sender
from rtseg_daemon.receive.store import ObjectStore
from rtseg_daemon.storage import Layout, damage
from rtseg_daemon.stored import Stored
from tests.faults.conftest import series
from tests.receiver import command_set, encoded

CT = "1.2.840.10008.5.1.4.1.1.2"
KEPT, AGAIN = 0x0000, 0xA700


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_kind(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


class Link(Exchange):
    """The way to the other host, which does what the test says."""

    def __init__(self, storage: Path) -> None:
        self.storage = storage
        self.answers = True

    def fetch(self, address: str, wanted: Stored, path: Path) -> None:
        if not self.answers:
            raise HostAway(f"host {address} does not answer")
        if damage(self.storage / wanted.path, wanted.sha256):
            raise ExchangeError(f"host {address}: this host has no file of {wanted.key}")
        path.write_bytes((self.storage / wanted.path).read_bytes())


class Site:
    """The receiver of one of two hosts."""

    def __init__(self, folder: Path, ledger: Engine, name: str, other: str, decoder: Decoder) -> None:
        self.ledger, self.name = ledger, name
        self.layout = Layout(folder / name, host=name)
        self.store = ObjectStore(self.layout)
        self.commits = GroupCommit(ledger, self.store.sync)
        self.commits.start()
        self.link = Link(folder / other)
        shelf = Shelf(folder / name / "shelf", 10**9)
        files = HostFiles(self.layout, name, shelf, self.link, partial(address_of, ledger))
        self.intake = Intake(self.store, self.commits, PeerLimits(), 0.0, Comparison(decoder), files=files)

    def take(self, images: list[Dataset], syntax: str = ExplicitVRLittleEndian) -> set[int]:
        """Receive them over one association. Returns the statuses that were answered."""
        sender, answered = Sender("PACS", "127.0.0.1"), set()
        for image in images:
            command = decode_command(command_set(0x0001, CT, str(image.SOPInstanceUID)))
            data = iter([memoryview(encoded(image, syntax))])
            answered.add(self.intake.take(sender, command, CT, syntax, data).code)
        return answered

    def take_set(self) -> int:
        """Receive a structure set that comes back. Returns the status."""
        command = decode_command(command_set(0x0001, STRUCTURE_SETS, "1.2.3"))
        data = iter([memoryview(b"a structure set")])
        sender = Sender("TPS", "127.0.0.1", feedback=True)
        return self.intake.take(sender, command, STRUCTURE_SETS, ExplicitVRLittleEndian, data).code

    def whole(self) -> int:
        """How many of the images that the ledger places here are here, as the ledger has them."""
        with reading(self.ledger) as session:
            rows = session.scalars(select(Instance).where(Instance.host == self.name)).all()
        return sum(not damage(self.layout.directory / one.path, one.sha256) for one in rows)

    def files(self) -> int:
        return len(list(self.layout.series.rglob("*.dcm")))


@pytest.fixture
def images() -> list[Dataset]:
    return series("a", 3)


@pytest.fixture
def site(tmp_path: Path, ledger: Engine, decoder: Decoder) -> Iterator[Callable[[str], Site]]:
    made: dict[str, Site] = {}

    def at(name: str) -> Site:
        if name not in made:
            other = "south" if name == "north" else "north"
            made[name] = Site(tmp_path, ledger, name, other, decoder)
        return made[name]

    for name in ("north", "south"):
        with writing(ledger) as session:
            hosts.register(session, name, storage=name, version="1", address=f"{name}:1")
    yield at
    for one in made.values():
        one.commits.stop()


def forget(ledger: Engine, name: str) -> None:
    silence(ledger, name)
    with writing(ledger) as session:
        hosts.forget(session, name, who="anna", why="burnt")


def silence(ledger: Engine, name: str) -> None:
    with writing(ledger) as session:
        session.get_one(Host, name).seen_at -= hosts.SILENT_SECONDS


def placed(ledger: Engine) -> list[tuple[str, InstanceState]]:
    with reading(ledger) as session:
        return [(one.host, one.state) for one in session.scalars(select(Instance).order_by(Instance.id))]


def received(site: Callable[[str], Site], images: list[Dataset]) -> None:
    """North has the series, and nobody can ask it any more."""
    assert site("north").take(images) == {KEPT}
    site("south").link.answers = False


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_images_of_a_host_that_is_gone_for_good_are_kept_where_they_come_again(
    site: Callable[[str], Site], ledger: Engine, images: list[Dataset], syntax: str
) -> None:
    received(site, images)
    forget(ledger, "north")
    south = site("south")
    assert south.take(images, syntax) == {KEPT}
    assert placed(ledger) == [("south", InstanceState.KEPT)] * len(images)
    assert south.whole() == south.files() == len(images)
    assert south.take(images, syntax) == {KEPT}, "and now they are here like any other"
    assert south.files() == len(images)


def test_the_same_bytes_take_the_place_of_those_of_a_silent_host(
    site: Callable[[str], Site], ledger: Engine, images: list[Dataset]
) -> None:
    received(site, images)
    silence(ledger, "north")
    assert site("south").take(images) == {KEPT}
    assert site("south").whole() == len(images)


def test_of_a_host_that_was_seen_a_moment_ago_nothing_is_taken_over_or_thrown_away(
    site: Callable[[str], Site], ledger: Engine, images: list[Dataset]
) -> None:
    received(site, images)
    assert site("south").take(images) == {AGAIN}
    assert placed(ledger) == [("north", InstanceState.KEPT)] * len(images)
    assert site("south").files() == 0
    with reading(ledger) as session:
        assert session.query(Series).one().state is SeriesState.OPEN


def test_what_another_host_has_as_it_was_is_not_kept_twice(
    site: Callable[[str], Site], ledger: Engine, images: list[Dataset]
) -> None:
    assert site("north").take(images) == {KEPT}
    assert site("south").take(images) == {KEPT}
    assert site("south").take(images, ExplicitVRBigEndian) == {KEPT}
    assert placed(ledger) == [("north", InstanceState.KEPT)] * len(images)
    assert site("south").files() == 0


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_what_another_host_has_lost_or_altered_is_mended_here(
    site: Callable[[str], Site], ledger: Engine, images: list[Dataset], syntax: str
) -> None:
    north, south = site("north"), site("south")
    assert north.take(images) == {KEPT}
    first, second = sorted(north.layout.series.rglob("*.dcm"))[:2]
    first.unlink()
    second.write_bytes(b"altered")
    assert south.take(images, syntax) == {KEPT}
    assert sorted(host for host, _ in placed(ledger)) == ["north", "south", "south"]
    assert south.whole() + north.whole() == len(images)


def test_other_bytes_for_a_silent_host_are_refused_for_now_where_nothing_proves_them_the_same(
    site: Callable[[str], Site], ledger: Engine, images: list[Dataset], capsys: pytest.CaptureFixture[str]
) -> None:
    received(site, images)
    silence(ledger, "north")
    assert site("south").take(images, ExplicitVRBigEndian) == {AGAIN}
    assert placed(ledger) == [("north", InstanceState.KEPT)] * len(images)
    told = capsys.readouterr()
    assert "if host north is gone for good, `rtseg-daemon drain north --forget`" in told.out + told.err


def test_other_bytes_for_a_silent_host_are_compared_by_the_digest_in_the_ledger(
    site: Callable[[str], Site], ledger: Engine, images: list[Dataset]
) -> None:
    north, south = site("north"), site("south")
    assert north.take(images) == {KEPT}
    assert north.take(images, ExplicitVRBigEndian) == {KEPT}, "so both were decoded, and the ledger has a digest"
    south.link.answers = False
    silence(ledger, "north")
    changed = series("a", 3)[2]
    changed.PixelData = bytes(reversed(changed.PixelData))
    assert south.take([*images[:2], changed], ExplicitVRBigEndian) == {KEPT}
    assert placed(ledger) == [
        ("south", InstanceState.KEPT),
        ("south", InstanceState.KEPT),
        ("north", InstanceState.KEPT),
        ("south", InstanceState.QUARANTINED),
    ]
    with reading(ledger) as session:
        assert session.query(Series).one().state is SeriesState.HELD


@pytest.mark.parametrize("lost", [True, False])
def test_a_structure_set_that_comes_back_again_is_kept_here_where_its_host_is_lost(
    site: Callable[[str], Site], ledger: Engine, lost: bool
) -> None:
    assert site("north").take_set() == KEPT
    if lost:
        forget(ledger, "north")
    south = site("south")
    assert south.take_set() == KEPT
    with reading(ledger) as session:
        row = session.query(ReturnedSet).one()
    assert row.host == ("south" if lost else "north")
    assert (south.layout.directory / row.path).is_file() is lost


# --- the lost host comes back ----------------------------------------------------------------------------------------


def taken_over(site: Callable[[str], Site], ledger: Engine, images: list[Dataset]) -> None:
    """South has the images, and north's are on its disk still."""
    received(site, images)
    silence(ledger, "north")
    assert site("south").take(images) == {KEPT}
    for path in sorted(site("north").layout.series.rglob("*.dcm")):  # as if they had come on another day
        folder = site("north").layout.series / "2020-01-01"
        folder.mkdir(exist_ok=True)
        path.rename(folder / path.name)


def test_a_host_that_comes_back_leaves_what_was_taken_over_where_it_is(
    site: Callable[[str], Site], ledger: Engine, images: list[Dataset]
) -> None:
    taken_over(site, ledger, images)
    compare_storage(ledger, site("north").layout)
    assert placed(ledger) == [("south", InstanceState.KEPT)] * len(images)
    assert site("south").whole() == site("north").files() == len(images)


def test_a_host_that_comes_back_has_its_images_again_where_the_other_one_is_lost_meanwhile(
    site: Callable[[str], Site], ledger: Engine, images: list[Dataset]
) -> None:
    taken_over(site, ledger, images)
    forget(ledger, "south")
    compare_storage(ledger, site("north").layout)
    assert placed(ledger) == [("north", InstanceState.KEPT)] * len(images)
    assert site("north").whole() == len(images)


def test_what_the_other_host_has_removed_since_goes_and_opens_no_series_again(
    site: Callable[[str], Site], ledger: Engine, images: list[Dataset]
) -> None:
    taken_over(site, ledger, images)
    with writing(ledger) as session:
        session.execute(update(Instance).values(state=InstanceState.REMOVED))
        session.execute(update(Series).values(state=SeriesState.REMOVED))
    compare_storage(ledger, site("north").layout)
    assert placed(ledger) == [("south", InstanceState.REMOVED)] * len(images)
    assert site("north").files() == 0
    with reading(ledger) as session:
        assert session.query(Series).one().state is SeriesState.REMOVED

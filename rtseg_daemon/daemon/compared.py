"""Storage and ledger are compared at each start, before anything is contoured or sent.

A ledger that was restored, by the command or by hand, is older than the storage. It lacks the images that came since.
So names are compared at each start: every acknowledged image is a file under a name of its own, and the ledger knows
the names of all that it keeps. No mark that says how old a ledger is could be surer.
"""

import json
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import Engine, select, update

from rtseg_daemon.ct.headers import is_axial_image
from rtseg_daemon.ledger import associations
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.events import raise_alarm, record_event
from rtseg_daemon.ledger.feedback_tables import ReturnedSet
from rtseg_daemon.ledger.leases import database_time
from rtseg_daemon.ledger.schema import IncomingAssociation, Instance, Job, Series
from rtseg_daemon.ledger.states import Ending, InstanceState
from rtseg_daemon.logs import log
from rtseg_daemon.receive.comparison import Comparison
from rtseg_daemon.receive.decoding import Decoder
from rtseg_daemon.receive.found import Entered, Entry, Found, read_found
from rtseg_daemon.receive.returned import enter_found
from rtseg_daemon.receive.sender import Sender
from rtseg_daemon.receive.unknown import unknown_files, unknown_results, unknown_returned
from rtseg_daemon.rtstruct.references import images_of
from rtseg_daemon.storage import Layout
from rtseg_daemon.upkeep.backup import stamp
from rtseg_daemon.upkeep.retention import delete_files

RTSTRUCT = "RTSTRUCT.dcm"
STORAGE = "(storage)"
"""Stands for the AE title of whoever sent what is found."""
NO_NOTE = (
    "the storage holds what the ledger does not know (an older ledger was put back, or the machine stopped as it came)"
)
YOUNG_SECONDS = 3600.0
"""In a storage that several hosts share, a file that is not in the ledger is left alone for so long."""
REMEDY = (
    "have the PACS send again what came since the backup; decisions of people since then are lost, audit.log has them"
)


def compare_storage(engine: Engine, layout: Layout) -> None:
    """Enter what the ledger does not know, and tell people. Raises OSError and SQLAlchemyError."""
    note = restored_from(layout)
    files = [path for path in unknown_files(engine, layout) if not (layout.shared and is_young(path))]
    results = unknown_results(engine, layout)
    adopt_returned(engine, layout)
    enter_returned(engine, layout)
    if files or results or note:
        log().warning("the storage holds what the ledger does not know", files=len(files), results=len(results))
        entered = enter_files(engine, layout, files)
        set_aside(layout, results)
        delete_files(engine, layout, entered.removed)
        tell(engine, entered, len(results), note)
    layout.restored.unlink(missing_ok=True)


def is_young(path: Path) -> bool:
    """Whether another host may be about to enter a file that the ledger does not know yet."""
    try:
        return time.time() - path.stat().st_mtime < YOUNG_SECONDS
    except FileNotFoundError:
        return True


def enter_returned(engine: Engine, layout: Layout) -> None:
    """Enter structure sets that came back and that the ledger does not know. They are looked into as if they came now.

    The machine may have stopped before one was acknowledged. Entering it then does no harm.
    """
    for path in unknown_returned(engine, layout):
        if layout.shared and is_young(path):
            continue
        with writing(engine) as session:
            set_id = enter_found(session, layout, path)
        log().warning("a structure set that came back was not in the ledger", returned_set=set_id)


def adopt_returned(engine: Engine, layout: Layout) -> None:
    """Sets that came back while their rows did not say at which host are this one's where it has their files.

    Daemons of several hosts before schema 0015 wrote such rows, and go on writing them in a rolling upgrade.
    """
    if not layout.host:
        return
    with reading(engine) as session:
        nameless = session.execute(select(ReturnedSet.id, ReturnedSet.path).where(ReturnedSet.host == "")).all()
    here = [set_id for set_id, path in nameless if path and (layout.directory / path).is_file()]
    if here:
        with writing(engine) as session:
            for set_id in here:
                session.get_one(ReturnedSet, set_id).host = layout.host


def restored_from(layout: Layout) -> str:
    """The backup that was restored and not compared yet, empty where there is none."""
    try:
        return Path(str(json.loads(layout.restored.read_text())["source"])).name
    except FileNotFoundError:
        return ""
    except (OSError, ValueError, KeyError, TypeError):
        return "a backup"


def enter_files(engine: Engine, layout: Layout, files: Sequence[Path]) -> Entered:
    """Enter these files, each series as far as it is known to be whole."""
    if not files:
        return Entered()
    found, left = [], []
    for number, path in enumerate(files, 1):
        one = read_found(path)
        found.append(one) if one is not None else left.append(path)
        if number % 1000 == 0:
            log().info("comparing storage and ledger", done=number, files=len(files))
    whole = whole_series(engine, layout, found)
    senders = senders_of(engine, {one.examined.series_uid for one in found}, whole, layout.host)
    comparison = Comparison(Decoder())
    try:
        entered = Entry(engine, layout, comparison).enter_all(found, senders)
    finally:
        comparison.decoder.close()
    entered.left += left
    return entered


def senders_of(engine: Engine, series: set[str], whole: set[str], host: str) -> dict[str, Sender]:
    """What stands for the sender of each series that was found on `host`.

    How its transfer ended is lost with the newer ledger. It counts as broken off: the series waits until it is sent
    again, or a PACS confirms its count, or is held. Only where a structure set was made of all that is here had the
    series been taken for whole.
    """
    with writing(engine) as session:
        session.execute(
            update(IncomingAssociation)
            .where(IncomingAssociation.ending == Ending.OPEN, IncomingAssociation.host == host)
            .values(ending=Ending.DIED, ended_at=database_time(session))
        )
        ids = {}
        for ending in (Ending.RELEASED, Ending.DIED):
            ids[ending] = associations.open_association(session, STORAGE, "", host=host)
            associations.end_association(session, ids[ending], ending)
    return {uid: Sender("", "", ids[Ending.RELEASED if uid in whole else Ending.DIED]) for uid in series}


def whole_series(engine: Engine, layout: Layout, found: Sequence[Found]) -> set[str]:
    """Series of which a structure set in `results/` refers to every axial image that is here."""
    images: dict[str, set[str]] = defaultdict(set)
    for one in found:
        if layout.series in one.path.parents and is_axial_image(one.examined.facts["image_type"]):
            images[one.examined.series_uid].add(one.examined.sop_instance_uid)
    with reading(engine) as session:
        kept = (
            select(Instance, Series.series_instance_uid)
            .join(Series)
            .where(Series.series_instance_uid.in_(images), Instance.state == InstanceState.KEPT)
        )
        for instance, uid in session.execute(kept):
            if is_axial_image(instance.facts.get("image_type", ())):
                images[uid].add(instance.sop_instance_uid)
        finished = {str(number) for number in session.scalars(select(Job.id).where(Job.rtstruct_path.is_not(None)))}
    whole = set()
    for folder in layout.results.iterdir():
        if folder.name not in finished:
            made_from = images_of(folder / RTSTRUCT)
            whole |= {uid for uid, known in images.items() if known <= made_from.get(uid, frozenset())}
    return whole


def set_aside(layout: Layout, results: Sequence[Path]) -> None:
    """Move folders of results to quarantine."""
    if results:
        place = layout.quarantine / f"results-{stamp(time.time())}"
        place.mkdir(mode=0o700, exist_ok=True)
        for folder in results:
            folder.rename(place / folder.name)


def tell(engine: Engine, entered: Entered, results: int, note: str) -> None:
    """An event and an alarm about what was found."""
    why = f"the ledger was restored from {note}" if note else NO_NOTE
    numbers = ", ".join(map(str, sorted(entered.series)[:20])) or "none"
    message = (
        f"{why}: {entered.images} images that it did not know are entered, series {numbers} are open again or held; "
        f"{results} results of jobs that it does not know lie in quarantine; {REMEDY}"
    )
    detail = {"images": entered.images, "series": sorted(entered.series), "results": results, "backup": note}
    now = time.time()
    with writing(engine) as session:
        record_event(session, "daemon", None, "storage compared", detail=detail, at=now)
        if note or entered.series or results:
            raise_alarm(session, "restored", f"restored:{int(now)}", message, at=now)
    log().warning("storage and ledger are compared", images=entered.images, left=len(entered.left), results=results)

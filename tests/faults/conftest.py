"""A receiver process, and the sweep beside it with a clock that the test turns."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from pydicom import Dataset
from sqlalchemy import Engine

from rtseg_daemon.anatomy.volume import Volume
from rtseg_daemon.assemble.quiet_clock import QuietClock
from rtseg_daemon.assemble.sweep import sweep
from rtseg_daemon.config.file import Config, load_config
from rtseg_daemon.ledger.engine import open_ledger, reading
from rtseg_daemon.ledger.schema import Alarm, Job, Series
from rtseg_daemon.ledger.series import kept_instances
from tests.receiver import Peer, Receiver
from tests.synthetic import slice_dataset

QUIET = 10.0
SLICES = 20


def tiny_bundle(models: Path) -> None:
    """A bundle without members: the gates need its limits alone."""
    document = {
        "format": 1, "name": "tiny", "version": "1", "intended_use": "evaluation", "description": "limits alone",
        "family": "sepnet", "arguments": {}, "classes": [], "members": [], "spacing_mm": [3.0, 3.0, 3.0],
        "window": [8, 8, 8], "extent_mm": [90.0, 90.0, 90.0],
    }  # fmt: skip
    (models / "tiny").mkdir(parents=True)
    (models / "tiny" / "bundle.yaml").write_text(yaml.safe_dump(document))


@dataclass
class Ward:
    """The receiving half of the daemon."""

    receiver: Receiver
    config: Config
    engine: Engine
    seconds: float = 0.0
    clock: QuietClock = field(init=False)

    def __post_init__(self) -> None:
        self.clock = QuietClock(now=lambda: self.seconds)

    def send(self, images: Iterable[Dataset], **association: Any) -> list[int | None]:
        """Send over one association that is released; returns the statuses."""
        with Peer(self.receiver.port) as peer:
            assert peer.associate(**association) == 2
            statuses = [peer.store(image) for image in images]
            peer.release()
        self.until_ended()
        return statuses

    def wait(self, seconds: float) -> None:
        """Sweep, let so much time pass, sweep again."""
        sweep(self.engine, self.config, 1e9 + self.seconds, self.clock)
        self.seconds += seconds
        sweep(self.engine, self.config, 1e9 + self.seconds, self.clock)

    def until_ended(self) -> None:
        """Wait until the receiver has noted the end of every association."""
        deadline = time.monotonic() + 5
        while self.receiver.rows("select 1 from association where ending = 'OPEN'"):
            assert time.monotonic() < deadline, "an association is still open"
            time.sleep(0.02)

    def jobs(self, images: list[Dataset]) -> list[Job]:
        """The jobs of these images' series, oldest first."""
        with reading(self.engine) as session:
            found = session.query(Series).filter_by(series_instance_uid=str(images[0].SeriesInstanceUID)).one_or_none()
            return list(found.jobs) if found else []

    def series(self, images: list[Dataset]) -> Series:
        with reading(self.engine) as session:
            return session.query(Series).filter_by(series_instance_uid=str(images[0].SeriesInstanceUID)).one()

    def kept(self, images: list[Dataset]) -> int:
        """How many objects of the series are kept."""
        with reading(self.engine) as session:
            return len(kept_instances(session, self.series(images).id))

    def alarms(self, kind: str) -> list[Alarm]:
        with reading(self.engine) as session:
            return session.query(Alarm).filter_by(kind=kind).all()

    def settled(self, images: list[Dataset], **association: Any) -> Job:
        """Send a series, wait until it is settled whatever it is, and return its newest job."""
        assert set(self.send(images, **association)) == {0}
        self.wait(4 * QUIET)
        return self.jobs(images)[-1]


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    folder = tmp_path_factory.mktemp("ward")
    tiny_bundle(folder / "models")
    receiver = Receiver(
        folder,
        models={"directory": "models"},
        series={"quiet_seconds": QUIET},
        routes=[{"name": "r", "match": {"modality": "CT"}, "bundle": "tiny"}],
    )
    config = load_config(receiver.config)
    engine = open_ledger(config.database_url)
    try:
        yield Ward(receiver, config, engine)
    finally:
        engine.dispose()
        receiver.end()


def series(seed: object, count: int = SLICES) -> list[Dataset]:
    """A plain CT series of small images; another seed gives another patient's."""
    hu = np.full((count, 16, 16), 40, np.int16)
    volume = Volume(hu, (3.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    return [slice_dataset(volume, k, "HFS", seed) for k in range(count)]  # type: ignore[arg-type]

"""Cases as the daemon leaves them, without a daemon: images and results in a storage, and their rows in a ledger."""

import hashlib
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from sqlalchemy import Engine

from rtseg_daemon.anatomy.organ import Flag, Organ, Uncertainty
from rtseg_daemon.anatomy.volume import Volume, bounding_box
from rtseg_daemon.bundles import OrganClass
from rtseg_daemon.ct.series import CtSeries, load_series
from rtseg_daemon.ledger.engine import writing
from rtseg_daemon.ledger.schema import Instance, Job, Series
from rtseg_daemon.ledger.states import JobState, SeriesState
from rtseg_daemon.rtstruct.writing import build_rtstruct, derive_identity, write_dataset
from rtseg_daemon.segment.entropy_map import save_entropy_map
from rtseg_daemon.storage import Layout
from rtseg_daemon.work.case import roi
from tests.structure_sets import organ_of, tiny_bundle

SOON = 1_770_000_000.0
COLOURS = ((255, 208, 0), (0, 200, 255), (255, 90, 160), (120, 230, 90), (255, 140, 40), (170, 130, 255), (0, 220, 170))


def drawn_organ(name: str, mask: NDArray[np.bool_], volume: Volume, slices: tuple[int, int] | None = None) -> Organ:
    """An organ of a mask on the whole grid: in doubt at `slices`, or fine without them."""
    smooth = ndimage.gaussian_filter(mask.astype(np.float32), (0, 1, 1)) - 0.5
    box = bounding_box(mask)
    assert box is not None
    organ = organ_of(name, mask, volume, smooth, uncertainty=Uncertainty(vvc=0.12, entropy=0.3))
    if slices is None:
        return organ
    return replace(organ, flag=Flag.REVIEW, slices=slices, reasons=("members disagree",), predicted_dice=0.71)


def doubt_around(organs: Sequence[Organ], volume: Volume, step: int = 4) -> Volume:
    """Entropy (nats) on a grid `step` times as coarse in the slice: high in organs at their `slices`."""
    heat = np.zeros(volume.shape, np.float32)
    for organ in organs:
        assert organ.box is not None
        assert organ.mask is not None
        part = heat[organ.box.slices]
        part[organ.mask] = 0.1
        if organ.slices is not None:
            middle = sum(organ.slices) // 2 - 1 - organ.box.start[0]
            for k in range(part.shape[0]):
                part[k][organ.mask[k]] = max(0.1, 0.9 - 0.15 * abs(k - middle))
    _, dy, dx = volume.spacing_mm
    coarse = heat[:, step // 2 :: step, step // 2 :: step]
    origin = (
        volume.origin_mm[0],
        volume.origin_mm[1] + step // 2 * dy,
        volume.origin_mm[2] + step // 2 * dx,
    )
    return Volume(coarse, (volume.spacing_mm[0], dy * step, dx * step), origin)


def stored_series(engine: Engine, layout: Layout, files: Sequence[Path], series: CtSeries, **facts: Any) -> int:
    """Copies of the files in the storage, and the rows of their series; returns its number."""
    layout.create()
    folder = layout.series / "20260115"
    folder.mkdir(mode=0o700, exist_ok=True)
    kept = []
    for path in files:
        target = folder / hashlib.sha256(f"{series.series_uid}{path.name}".encode()).hexdigest()[:32]
        shutil.copyfile(path, target)
        kept.append(target)
    uids = {one.path.name: one for one in series.instances}
    with writing(engine) as session:
        row = Series(
            series_instance_uid=series.series_uid,
            study_instance_uid=str(series.header.StudyInstanceUID),
            patient_id=str(series.header.PatientID),
            modality="CT",
            calling_ae="PACS",
            calling_host="127.0.0.1",
            state=SeriesState.COMPLETE,
            first_received_at=SOON,
            last_received_at=SOON,
            updated_at=SOON,
            **facts,
        )
        session.add(row)
        session.flush()
        for path, target in zip(files, kept, strict=True):
            image = uids[path.name]
            session.add(
                Instance(
                    series_id=row.id,
                    sop_instance_uid=image.sop_instance_uid,
                    sop_class_uid=image.sop_class_uid,
                    path=layout.relative(target),
                    sha256=hashlib.sha256(target.read_bytes()).hexdigest(),
                    size=target.stat().st_size,
                    received_at=SOON,
                )
            )
        return row.id


def stored_job(
    engine: Engine,
    layout: Layout,
    series_id: int,
    series: CtSeries,
    organs: Sequence[Organ],
    entropy: Volume | None = None,
    run: int = 1,
    bundle: str = "han-oar",
) -> int:
    """A delivered job with its structure set and entropy map in the storage; returns its number."""
    with writing(engine) as session:
        last = max(one.id for one in session.get_one(Series, series_id).instances)
        job = Job(
            series_id=series_id,
            last_instance_id=last,
            bundle=bundle,
            route="all",
            run=run,
            state=JobState.DELIVERED,
            rois=[roi(organ) for organ in organs],
            flags={organ.name: str(organ.flag) for organ in organs},
            created_at=time.time(),
            updated_at=time.time(),
        )
        session.add(job)
        session.flush()
        number = job.id
    path = layout.result(number) / "RTSTRUCT.dcm"
    path.parent.mkdir(mode=0o700, parents=True)
    classes = [OrganClass(name=one.name, colour=COLOURS[n % len(COLOURS)]) for n, one in enumerate(organs)]
    made = tiny_bundle(classes=classes)
    dataset = build_rtstruct(series, organs, [made], derive_identity(series, made.digest, run))
    write_dataset(dataset, path)
    if entropy is not None:
        save_entropy_map(entropy, path.parent / "entropy.npz")
    with writing(engine) as session:
        row = session.get_one(Job, number)
        row.rtstruct_path = layout.relative(path)
        row.rtstruct_sop_instance_uid = str(dataset.SOPInstanceUID)
        row.rtstruct_sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return number


def stored_case(
    engine: Engine, layout: Layout, files: Sequence[Path], organs: Sequence[Organ], entropy: Volume | None = None
) -> int:
    """A series and its one job; returns the job's number."""
    series = load_series(files)
    return stored_job(engine, layout, stored_series(engine, layout, files, series), series, organs, entropy)

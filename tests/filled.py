"""A ledger as a clinic has it after months: made-up patients, with jobs in every state, written row by row at once."""

import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, insert

from rtseg_daemon.ledger.engine import writing
from rtseg_daemon.ledger.schema import (
    Alarm,
    Delivery,
    Destination,
    Event,
    IncomingAssociation,
    Instance,
    Job,
    Process,
    Series,
    SeriesAssociation,
)
from rtseg_daemon.storage import Layout

ORGANS: dict[str, tuple[float, float]] = {
    "Brainstem": (26.0, 0.80),
    "SpinalCord": (18.0, 0.79),
    "Parotid_L": (29.0, 0.80),
    "Parotid_R": (28.0, 0.79),
    "Bone_Mandible": (61.0, 0.88),
    "Larynx": (14.0, 0.70),
    "Esophagus": (9.0, 0.68),
}
"""Organ -> usual volume in ml, usual predicted Dice."""
PEOPLE = ("anna.berger", "j.okafor", "m.silva")
SCANNERS = ("SIEMENS SOMATOM go.Open CT1", "Philips Big Bore CT2")
STAGES = {"read headers": 0.4, "read series": 1.3, "load model": 0.2, "preprocess": 0.9, "infer": 6.8, "contour": 1.1}
ENDS = ["DELIVERED"] * 88 + ["HELD"] * 3 + ["FAILED"] * 3 + ["CANCELLED"] * 3 + ["SEGMENTED"] * 3
NEWEST = {0: "DELIVERED", 1: "RUNNING", 2: "QUEUED", 3: "QUEUED", 5: "HELD", 6: "FAILED"}
"""How the newest jobs stand, counted from the last one."""
HELD_FOR = (
    "left and right may be exchanged: Parotid_L is not to the left of Parotid_R",
    "patient position FFS is not one that han-oar is validated for (HFS)",
    "3 slices are missing, at 42.5, 45.0, 47.5 mm along the stack",
)
FAILED_FOR = (
    "tps: refused with 0xA900 (data set does not match SOP class)",
    "worker-0 died (attempt 3 of 3, in infer)",
)
HOUR, DAY = 3600.0, 86400.0
SHA = hashlib.sha256(b"made up").hexdigest()


@dataclass
class Clinic:
    """What is made up, and how.

    Args:
        patient: the PatientID of every series, where all shall have this one.
        text: what strangers wrote wherever they may write, where all shall have this one.
    """

    engine: Engine
    layout: Layout
    now: float
    jobs: int = 60
    seed: int = 1
    patient: str = ""
    text: str = ""
    route: str = "head-neck"
    bundle: str = "han-oar"
    digests: Sequence[str] = (SHA,)
    rows: dict[type[Any], list[dict[str, Any]]] = field(default_factory=dict)

    def fill(self) -> None:
        """Write all rows. The oldest job has number 1."""
        chance = random.Random(self.seed)
        for number in range(1, self.jobs + 1):
            self.add_case(chance, number)
        self.add_surroundings(chance)
        with writing(self.engine) as session:
            for table, rows in self.rows.items():
                session.execute(insert(table), rows)

    def add(self, table: type[Any], **values: Any) -> None:
        self.rows.setdefault(table, []).append(values)

    def add_case(self, chance: random.Random, number: int) -> None:
        """One series with its job, deliveries and events."""
        age = (self.jobs - number) / max(self.jobs, 1)
        at = self.now - age * 80 * DAY - chance.uniform(0.3, 6) * HOUR
        if number > self.jobs - 4:
            at = self.now - 70 - 25 * (self.jobs - number)
        self.add_series(chance, number, at, "COMPLETE")
        state = NEWEST.get(self.jobs - number) or chance.choice(ENDS)
        if number < self.jobs - 6 and state in ("HELD", "FAILED") and at < self.now - 20 * DAY:
            state = "CANCELLED" if number % 3 else "DELIVERED"  # somebody has decided since
        done = state in ("DELIVERED", "SEGMENTED", "DELIVERING", "HELD") or (state == "FAILED" and number % 2)
        rois = list(self.organs(chance)) if done else []
        took = chance.uniform(8, 15)
        error = {"HELD": chance.choice(HELD_FOR), "FAILED": chance.choice(FAILED_FOR)}.get(state)
        self.add(
            Job,
            id=number,
            series_id=number,
            last_instance_id=number,
            bundle=self.bundle,
            bundle_digest=self.digests[min(int((1 - age) * len(self.digests)), len(self.digests) - 1)],
            route=self.route,
            run=1,
            no_send=False,
            state=state,
            error=(self.text or error) if error else None,
            releasable=True,
            released_by=None,
            attempts=0,
            beats=0,
            stage=(self.text or "infer") if state == "RUNNING" else None,
            started_at=at + 40 if state != "QUEUED" else None,
            heartbeat_at=None,
            verdicts=self.verdicts(state, error) if done else [],
            rois=rois,
            flags={roi["name"]: roi["flag"] for roi in rois},
            seconds={stage: round(s * chance.uniform(0.8, 1.3), 3) for stage, s in STAGES.items()} if done else {},
            rtstruct_path=f"results/{number}/RTSTRUCT.dcm" if done else None,
            rtstruct_sop_instance_uid=f"2.25.{number}" if done else None,
            rtstruct_sha256=SHA if done else None,
            created_at=at + 33,
            updated_at=at + 40 + took,
        )
        self.add_history(chance, number, state, at, took, error)

    def verdicts(self, state: str, error: str | None) -> list[dict[str, Any]]:
        found = [{"gate": gate, "verdict": "pass", "reasons": []} for gate in ("series", "voxels", "organs")]
        found[2] |= {"verdict": "flag", "reasons": [self.text or "Larynx touches the last slice"]}
        if state == "HELD":
            found[0] = {"gate": "series", "verdict": "hold", "reasons": [self.text or error or ""]}
        return [*found, {"gate": "written file", "verdict": "pass", "reasons": []}]

    def add_series(self, chance: random.Random, number: int, at: float, state: str, **values: Any) -> None:
        """A series with one image's row."""
        self.add(
            Series,
            **{
                "id": number,
                "series_instance_uid": f"1.2.826.0.1.3680043.8.498.{number}",
                "study_instance_uid": f"1.2.826.0.1.3680043.8.499.{number}",
                "patient_id": self.patient or f"HN-{20000 + (number * 7919) % 9973}",
                "modality": "CT",
                "calling_ae": self.text[:16] or chance.choice(["PACS", "CTSIM2"]),
                "calling_host": "10.20.0.14",
                "body_part": self.text or "HEADNECK",
                "description": self.text or chance.choice(["H&N 2.5 mm", "HNC planning", "Neck CE 2.0"]),
                "state": state,
                "reasons": [],
                "releasable": True,
                "expected_count": None,
                "counted_instance_id": None,
                "first_received_at": at - 60,
                "last_received_at": at,
                "updated_at": at,
            }
            | values,
        )
        self.add_image(number, number, at)

    def add_image(self, image: int, series: int, at: float, **facts: Any) -> None:
        self.add(
            Instance,
            id=image,
            series_id=series,
            association_id=None,
            sop_instance_uid=f"1.2.826.0.1.3680043.8.500.{image}",
            sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
            path=f"series/{series}/{image}.dcm",
            sha256=SHA,
            size=525_000,
            identity_sha256="i",
            geometry_sha256=f"g{image}",
            pixel_sha256=f"p{image}",
            facts={"scanner": SCANNERS[image % len(SCANNERS)]} | facts,
            state="KEPT",
            received_at=at,
        )

    def organs(self, chance: random.Random) -> Iterator[dict[str, Any]]:
        """An organ's figures as a result has them."""
        for name, (usual, likely) in ORGANS.items():
            spread = abs(chance.gauss(0, 0.05))
            dice = min(0.97, max(0.05, likely + chance.gauss(0.01, 0.05) - spread))
            flag = "REJECT" if dice < likely - 0.22 else "REVIEW" if dice < likely - 0.08 else "OK"
            if name == "Esophagus" and chance.random() < 0.04:
                flag = "REJECT"
            first = chance.randint(20, 90)
            reason = self.text or "members disagree at the inferior end"
            reasons = [] if flag == "OK" else [reason]
            comment = f"{flag} vvc={0.03 + spread:.3f} entropy={0.1 + 2 * spread:.2f} dice={dice:.2f}"
            yield {
                "name": name,
                "volume_ml": round(usual * chance.lognormvariate(0, 0.18), 3),
                "flag": flag,
                "vvc": round(0.03 + spread, 4),
                "entropy": round(0.1 + 2 * spread, 4),
                "predicted_dice": round(dice, 4),
                "interval": [round(max(0.0, dice - 0.09), 4), round(min(1.0, dice + 0.09), 4)],
                "slices": [first, first + chance.randint(1, 8)],
                "reasons": reasons,
                "comment": comment + (f' reason="{reason}"' if reasons else ""),
            }

    def add_history(
        self, chance: random.Random, number: int, state: str, at: float, took: float, error: str | None
    ) -> None:
        """The job's events and its delivery."""
        steps: list[tuple[float, str, str | None, str | None, str, dict[str, Any]]] = [
            (at + 33, "created", None, "QUEUED", "daemon", {})
        ]
        if state != "QUEUED":
            steps.append((at + 40, "claimed", "QUEUED", "RUNNING", "worker-0-4711", {}))
        if state not in ("QUEUED", "RUNNING"):
            what = {"HELD": "held", "FAILED": "failed", "CANCELLED": "cancelled"}.get(state, "segmented")
            who = chance.choice(PEOPLE) if state == "CANCELLED" else "worker-0-4711"
            to = "SEGMENTED" if what == "segmented" else state
            detail = {"reason": self.text or error} if error else {}
            steps.append((at + 40 + took, what, "RUNNING", to, self.text[:200] or who, detail))
        for when, what, before, to, who, detail in steps:
            self.event(when, "job", number, what, who, before, to, detail)
        if chance.random() < 0.1:
            self.event(at + HOUR, "job", number, "viewed", chance.choice(PEOPLE), None, None, {})
        if state in ("DELIVERED", "DELIVERING", "FAILED"):
            self.add_delivery(number, state, at + 41 + took + chance.expovariate(1 / 3))

    def add_delivery(self, number: int, state: str, at: float) -> None:
        sent = {"DELIVERED": "SENT", "DELIVERING": "WAITING", "FAILED": "FAILED"}[state]
        self.add(
            Delivery,
            id=number,
            job_id=number,
            destination="eclipse",
            state=sent,
            attempts=1,
            next_attempt_at=at + 60 if sent == "WAITING" else None,
            last_attempt_at=at,
            planned_seconds=0.0,
            refused=sent == "FAILED",
            waited_seconds=0.0,
            refused_seconds=0.0,
            last_status=0 if sent == "SENT" else 0xA700 if sent == "WAITING" else 0xA900,
            last_comment=self.text or ("stored" if sent == "SENT" else "out of resources"),
            images_sent=[],
            commitment_uid=None,
            commitment_asked_at=None,
            sent_at=at if sent == "SENT" else None,
            created_at=at,
            updated_at=at,
        )
        self.event(at, "delivery", number, "sent" if sent == "SENT" else "not delivered yet", "daemon", "SENDING", sent)

    def event(
        self,
        at: float,
        subject: str,
        number: int,
        what: str,
        who: str,
        before: str | None = None,
        to: str | None = None,
        detail: dict[str, Any] | None = None,
    ) -> None:
        self.add(
            Event,
            at=at,
            subject=subject,
            subject_id=number,
            what=what,
            from_state=before,
            to_state=to,
            detail=detail or {},
            who=who,
        )

    def add_surroundings(self, chance: random.Random) -> None:
        """Two series on their way, one held by reception, processes, destinations and alarms."""
        first = self.jobs + 1
        text = self.text
        self.add(IncomingAssociation, id=1, calling_ae="PACS", calling_host="10.20.0.14", opened_at=self.now - 20)
        self.rows[IncomingAssociation][0] |= {"ended_at": None, "ending": "OPEN"}
        self.add_series(chance, first, self.now - 2, "OPEN", expected_count=148)
        self.add_series(chance, first + 1, self.now - 95, "OPEN")
        reasons = [text or "2 slices are missing, at 37.5, 40.0 mm along the stack"]
        self.add_series(chance, first + 2, self.now - 3 * HOUR, "HELD", reasons=reasons)
        self.add_series(chance, first + 3, self.now - 5 * HOUR, "UNROUTED")
        self.add(SeriesAssociation, series_id=first, association_id=1, last_at=self.now - 2)
        for series, count in ((first, 96), (first + 1, 60)):
            for k in range(1, count):
                place = 2.5 * k + (7.5 if series == first + 1 and k > 30 else 0.0)
                facts = {"position": [0.0, 0.0, place], "orientation": [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]}
                self.add_image(series * 1000 + k, series, self.now - 2, image_type=["ORIGINAL", "PRIMARY"], **facts)
        for name, state, pid in (
            ("receiver", "running", 4709),
            ("worker-0", "running", 4711),
            ("deliverer", "running", 4712),
            ("web", "running", 4713),
        ):
            detail = text if text and name == "worker-0" else None
            self.add(
                Process, name=name, pid=pid, state=state, restarts=0, updated_at=self.now - 9 * HOUR, detail=detail
            )
        self.add(Destination, name="eclipse", up=True, since=self.now - 9 * HOUR, checked_at=self.now - 20, error=None)
        error = text or "connection refused"
        self.add(Destination, name="archive", up=False, since=self.now - HOUR, checked_at=self.now - 9, error=error)
        for key, kind, message in (
            ("a", "late", f"series {first + 2}: contours are late, the series is HELD and has no job"),
            ("b", "delivery", "job 12 was not delivered to eclipse: refused with 0xA900"),
        ):
            self.add(
                Alarm,
                at=self.now - HOUR,
                kind=kind,
                key=key,
                message=text or message,
                sent_at=self.now - HOUR,
                attempts=1,
                error=None,
                acknowledged_at=None,
                acknowledged_by=None,
            )


def store_result(layout: Layout, job_id: int, content: bytes = b"made up") -> Path:
    """The file that such a job's row names, with its digest."""
    path = layout.result(job_id) / "RTSTRUCT.dcm"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def store_images(layout: Layout, series: int) -> Path:
    """The file of such a series' only image."""
    path = layout.series / str(series) / f"{series}.dcm"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"made up")
    return path

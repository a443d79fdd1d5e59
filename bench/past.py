"""Years of a department in a ledger, written by the database itself: ten million rows take minutes.

The proportions are those of real use. One case has a series of a hundred images that came by one association, a job,
two deliveries, and an event for each step. A twentieth of the cases has a shadow's job, a fiftieth was run again for a
look alone. Retention has removed all images but those of the last 13 days. People have decided about all that is
older.
"""

import json
import random
import re
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Table, create_engine, func, select
from sqlalchemy.engine import make_url

from rtseg_daemon.ledger.copying import set_numbers, tables
from rtseg_daemon.ledger.schema import Event, Instance
from tests.filled import ORGANS

DAY = 86400.0
KEPT_DAYS = 13.0
IMAGES = 100
"""Of a series, unless `--images` says otherwise."""
CASES_AT_ONCE = 2000
VARIANTS = 16
DIGESTS = 5
"""Versions of the bundle that served one after the other."""
SPOKEN = {
    "sqlite": {
        "random": "lower(hex(randomblob(32)))",
        "hex": "printf('%064x', {0})",
        "day": "strftime('%Y-%m-%d', {0}, 'unixepoch')",
        "json": "",
    },
    "postgresql": {
        "random": "md5(random()::text) || md5(random()::text)",
        "hex": "lpad(to_hex({0}), 64, '0')",
        "day": "to_char(to_timestamp({0}), 'YYYY-MM-DD')",
        "json": "::json",
    },
}


@dataclass
class Past:
    """What is written, and where. Cases have the numbers from 1 on, the oldest first, `pause` seconds between them."""

    url: str
    cases: int
    now: float
    pause: float
    images: int = IMAGES

    def write(self) -> None:
        """Fill an empty ledger of this version's schema."""
        if not self.cases:
            return
        engine = create_engine(make_url(self.url))
        heavy: tuple[Any, ...] = (Instance.__table__, Event.__table__)
        with engine.begin() as connection:
            self.drop_indices(connection, heavy)
            self.write_variants(connection)
            for statement in (ASSOCIATIONS, SERIES, CARRIED, JOBS, *OTHER_JOBS, DELIVERIES, ALARMS, *EVENTS, *TOLD):
                connection.exec_driver_sql(self.spoken(statement, 1, self.cases))
        for first in range(1, self.cases + 1, CASES_AT_ONCE):
            with engine.begin() as connection:
                last = min(first + CASES_AT_ONCE - 1, self.cases)
                connection.exec_driver_sql(self.spoken(INSTANCES, first, last))
        with engine.begin() as connection:
            connection.exec_driver_sql("DROP TABLE variant")
            for table in heavy:
                for index in table.indexes:
                    index.create(connection)
            if engine.dialect.name == "postgresql":
                set_numbers(connection)
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            # what a server does by itself within minutes. SQLite has no such figures, and plans without
            if engine.dialect.name == "postgresql":
                connection.exec_driver_sql("VACUUM ANALYZE")
                connection.exec_driver_sql("CHECKPOINT")
            else:
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        engine.dispose()

    def drop_indices(self, connection: Connection, heavy: tuple[Table, ...]) -> None:
        """They are made anew when everything is there, which is quicker."""
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("PRAGMA synchronous=OFF")
        else:  # keys that refer to rows need not be looked up: they are right
            connection.exec_driver_sql("SET session_replication_role = replica")
        for table in heavy:
            for index in table.indexes:
                index.drop(connection)

    def write_variants(self, connection: Connection) -> None:
        """Some results that a job may have."""
        connection.exec_driver_sql("CREATE TABLE variant (n INTEGER, rois TEXT, flags TEXT)")
        rows = [{"n": n, "rois": json.dumps(organs(n)), "flags": json.dumps(flags(n))} for n in range(VARIANTS)]
        mark = "%(n)s, %(rois)s, %(flags)s" if connection.dialect.name == "postgresql" else ":n, :rois, :flags"
        connection.exec_driver_sql(f"INSERT INTO variant VALUES ({mark})", rows)

    def spoken(self, statement: str, first: int, last: int) -> str:
        """A statement in the database's own words, for the cases from `first` to `last`."""
        words = SPOKEN["postgresql" if self.url.startswith("postgresql") else "sqlite"]
        at = f"({self.now - 3600.0} - ({self.cases} - i) * {self.pause})"
        numbers = (
            f"WITH RECURSIVE numbers(i) AS (SELECT {first} UNION ALL SELECT i + 1 FROM numbers WHERE i < {last}), "
            f"slices(k) AS (SELECT 1 UNION ALL SELECT k + 1 FROM slices WHERE k < {self.images}) "
        )
        meant = {
            "AT": at,
            "OLD": f"({at} < {self.now - KEPT_DAYS * DAY})",
            "UID": "'1.3.12.2.1107.5.1.4.' || ((i * 2654435761) % 1000000007) || '.' || i",
            "OWN_HEX": words["hex"].format("i * 2654435761"),
            "DAY": words["day"].format(at),
            "VERSION": f"(i * {DIGESTS} / {self.cases + 1})",
            "RANDOM": words["random"],
            "JSON": words["json"],
            "IMAGES": str(self.images),
        }
        filled = re.sub(rf"\b({'|'.join(meant)})\b", lambda word: meant[word[0]], statement)
        into, _, rest = filled.partition(" SELECT ")
        return f"{into} {numbers} SELECT {rest}".replace("%", "%%" if "postgresql" in self.url else "%")


def organs(n: int) -> list[dict[str, Any]]:
    """The organs of a result as a job keeps them."""
    chance = random.Random(n)
    return [
        {
            "name": name,
            "flag": "REVIEW" if chance.random() < 0.1 else "OK",
            "volume_ml": round(volume * chance.uniform(0.8, 1.2), 2),
            "vvc": round(chance.uniform(0.02, 0.1), 4),
            "predicted_dice": round(dice + chance.uniform(-0.05, 0.05), 3),
            "interval": [round(dice - 0.1, 3), round(dice + 0.08, 3)],
            "comment": "drawn by an ensemble of six; look at the upper end before use",
            "contours": 40,
        }
        for name, (volume, dice) in ORGANS.items()
    ]


def flags(n: int) -> dict[str, str]:
    return {str(organ["name"]): str(organ["flag"]) for organ in organs(n)}


ASSOCIATIONS = """INSERT INTO association (id, calling_ae, calling_host, opened_at, ended_at, ending, host)
 SELECT i, 'CT1', '10.20.0.14', AT, AT + 31, 'RELEASED', '' FROM numbers"""
SERIES = """INSERT INTO series (id, series_instance_uid, study_instance_uid, patient_id, modality, calling_ae,
 calling_host, body_part, description, state, reasons, releasable, first_received_at, last_received_at, updated_at)
 SELECT i, UID, UID || '.1', 'P' || (i / 2), 'CT', 'CT1', '10.20.0.14', 'HEAD', 'H/N 2.0 mm',
 CASE WHEN OLD THEN 'REMOVED' ELSE 'COMPLETE' END, '[]'JSON, true, AT, AT + 31, AT + 65
 FROM numbers"""
CARRIED = """INSERT INTO series_association (series_id, association_id, last_at) SELECT i, i, AT + 31 FROM numbers"""
INSTANCES = """INSERT INTO instance (id, series_id, association_id, sop_instance_uid, sop_class_uid, path, sha256,
 size, identity_sha256, geometry_sha256, facts, state, received_at, host)
 SELECT (i - 1) * IMAGES + k, i, i, UID || '.2.' || k, '1.2.840.10008.5.1.4.1.1.2',
 'series/' || DAY || '/' || RANDOM || '.dcm', RANDOM, 526000, OWN_HEX, RANDOM,
 ('{"position": [-250.0, -250.0, ' || (k * 2) || '.0], "orientation": [1.0, 0.0, 0.0, 0.0, 1.0, 0.0], "image_type":
 ["ORIGINAL", "PRIMARY", "AXIAL"], "instance": ' || k || ', "acquisition": 1, "thickness": 2.0, "rows": 512, "columns":
 512, "transfer_syntax": "1.2.840.10008.1.2.1", "scanner": "SIEMENS SOMATOM go.Open CT1"}')JSON,
 CASE WHEN OLD THEN 'REMOVED' ELSE 'KEPT' END, AT + k / 4.0, ''
 FROM numbers CROSS JOIN slices"""
JOB = """INSERT INTO job (id, series_id, last_instance_id, bundle, bundle_digest, route, run, no_send, shadow, state,
 error, releasable, attempts, lease_token, beats, verdicts, rois, flags, seconds, rtstruct_path,
 rtstruct_sop_instance_uid, rtstruct_sha256, host, created_at, updated_at, heartbeat_at, started_at) SELECT """
RESULT = """'[{"gate": "series", "verdict": "pass", "reasons": []}, {"gate": "organs", "verdict": "pass", "reasons":
 []}]'JSON, rois JSON, flags JSON, '{"read series": 1.3, "infer": 6.8, "contour": 1.1}'JSON"""
MADE = "OWN_HEX, '', AT + 65, AT + 90, AT + 85, AT + 70"
FILE = "'results/' || i || '/RTSTRUCT.dcm', '2.25.' || i"
JOBS = f"""{JOB} i, i, i * IMAGES, 'han-oar', 'digest-' || VERSION, 'head-neck', 1, false, false,
 CASE WHEN NOT OLD AND i % 40 = 7 THEN 'HELD' WHEN NOT OLD AND i % 100 = 37 THEN 'FAILED' WHEN i % 40 = 1
 THEN 'CANCELLED' ELSE 'DELIVERED' END, NULL, true, 0, 1, 7, {RESULT}, {FILE}, {MADE}
 FROM numbers JOIN variant ON n = i % {VARIANTS}"""
OTHER_JOBS = tuple(
    f"""{JOB} {number}, i, i * IMAGES, '{bundle}', '{digest}', 'head-neck', {run}, true, {shadow}, 'SEGMENTED', NULL,
 true, 0, 1, 7, {RESULT}, {FILE}, {MADE} FROM numbers JOIN variant ON n = i % {VARIANTS} WHERE i % {every} = 0"""
    for number, bundle, digest, run, shadow, every in (
        ("1000000 + i", "han-oar@2.0", "candidate", 0, "true", 20),
        ("2000000 + i", "han-oar", "digest-0", 2, "false", 50),
    )
)
DELIVERIES = """INSERT INTO delivery (id, job_id, destination, state, attempts, last_attempt_at, planned_seconds,
 refused, waited_seconds, refused_seconds, last_status, last_comment, images_sent, sent_at, created_at, updated_at)
 SELECT id * 2 - d, id, CASE d WHEN 0 THEN 'pacs' ELSE 'tps' END, CASE state WHEN 'DELIVERED' THEN 'SENT' WHEN 'FAILED'
 THEN 'FAILED' ELSE 'CANCELLED' END, 1, updated_at, 0, false, 0, 0, 0, 'stored', '[]'JSON, updated_at, updated_at,
 updated_at FROM job CROSS JOIN (SELECT 0 AS d UNION SELECT 1) AS two WHERE id <= 1000000"""
ALARMS = """INSERT INTO alarm (id, at, kind, key, message, sent_at, attempts, acknowledged_at, acknowledged_by)
 SELECT i, AT, 'late', 'late:' || i, 'series ' || i || ': contours are late', AT, 1,
 CASE WHEN OLD THEN AT + 600 END, CASE WHEN OLD THEN 'anna.berger' END FROM numbers WHERE i % 20 = 0"""
EVENT = "INSERT INTO event (id, at, subject, subject_id, what, from_state, to_state, detail, who) SELECT "
WORKER = "'worker-0@ct-1/' || (4000 + i / 400) || '-9f3a1c'"
"""Another name at every start: one in a week."""
STEPS = (
    ("series", "i", "first slice", "NULL", "'OPEN'", "'daemon'"),
    ("series", "i", "complete", "'OPEN'", "'COMPLETE'", "'daemon'"),
    ("job", "i", "created", "NULL", "'QUEUED'", "'daemon'"),
    ("job", "i", "claimed", "'QUEUED'", "'RUNNING'", WORKER),
    ("job", "i", "segmented", "'RUNNING'", "'SEGMENTED'", WORKER),
    ("delivery", "i * 2", "created", "NULL", "'WAITING'", WORKER),
    ("delivery", "i * 2 - 1", "created", "NULL", "'WAITING'", WORKER),
    ("delivery", "i * 2", "attempt", "'WAITING'", "'SENDING'", "'daemon'"),
    ("delivery", "i * 2 - 1", "attempt", "'WAITING'", "'SENDING'", "'daemon'"),
    ("job", "i", "delivery begun", "'SEGMENTED'", "'DELIVERING'", "'daemon'"),
    ("delivery", "i * 2", "sent", "'SENDING'", "'SENT'", "'daemon'"),
    ("delivery", "i * 2 - 1", "sent", "'SENDING'", "'SENT'", "'daemon'"),
    ("job", "i", "delivered", "'DELIVERING'", "'DELIVERED'", "'daemon'"),
    ("job", "i", "viewed", "NULL", "NULL", "'person' || (i % 12)"),
)
EVENTS = tuple(
    f"{EVENT} i * {len(STEPS)} - {number_of}, AT, '{subject}', {number}, '{what}', {before}, {after}, '{{}}'JSON, {who}"
    " FROM numbers"
    for number_of, (subject, number, what, before, after, who) in enumerate(reversed(STEPS))
)

TOLD = (
    "INSERT INTO setting (key, value) SELECT 'audit_event', max(id) || '' FROM event",
    "INSERT INTO setting (key, value) SELECT 'audit_association', max(id) || '' FROM association",
)
"""What the audit trail has already."""


def rows(connection: Connection) -> dict[str, int]:
    """How many rows each table has."""
    return {table.name: connection.scalar(select(func.count()).select_from(table)) or 0 for table in tables()}

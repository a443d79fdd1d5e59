"""The sections of the configuration file, their defaults, and what each value may be."""

import hashlib
from datetime import time
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from rtseg_daemon.config.values import (
    JOINER,
    AeTitle,
    BundleNames,
    Channel,
    Fingerprint,
    Name,
    Names,
    Port,
    RayAddress,
    Regex,
    Seconds,
    VersionName,
    VersionNames,
    mail_address,
    time_of_day,
    without_version,
)


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Caller(Section):
    """Who may associate. With TLS, `fingerprint` or `san` binds the title to one certificate.

    `feedback`: whether the structure sets that it sends are kept: what people made of our contours.
    """

    ae_title: AeTitle
    host: Annotated[str, Field(min_length=1)]
    fingerprint: Fingerprint | None = None
    san: str | None = None
    feedback: bool = False


class Tls(Section):
    """Our certificate for DICOM TLS in both directions, and the CA that partners' certificates come from."""

    certificate: Path
    key: Path
    ca: Path
    port: Port = 2762
    only: bool = False


class Dicom(Section):
    """The listener. `tls.only` closes the plain port."""

    ae_title: AeTitle = "RTSEG"
    host: str = "127.0.0.1"
    port: Port = 11112
    max_associations: Annotated[int, Field(ge=1, le=1000)] = 20
    max_per_caller: Annotated[int, Field(ge=1)] = 12
    max_object_mb: Annotated[int, Field(ge=1, le=4096)] = 128
    request_seconds: Seconds = 10
    idle_seconds: Seconds = 60
    message_seconds: Seconds = 120
    allowed_callers: tuple[Caller, ...] = ()
    tls: Tls | None = None

    @property
    def plain_ports(self) -> list[int]:
        """The plain port, unless all come by TLS."""
        return [] if self.tls is not None and self.tls.only else [self.port]

    @property
    def ports(self) -> list[int]:
        """All ports that are listened on."""
        return self.plain_ports + ([self.tls.port] if self.tls is not None else [])


class Storage(Section):
    """Where images and results lie.

    Args:
        shared: whether several hosts have this one directory, as a file system that all of them mount.
    """

    directory: Path = Path("/var/lib/rtseg")
    shared: bool = False
    minimum_free_gb: Annotated[float, Field(ge=0)] = 5
    keep_days: Annotated[float, Field(gt=0)] = 14


class Database(Section):
    """`url` of SQLAlchemy. None stands for `rtseg.db` in storage.directory (see Config.database_url).

    `host_name` is what this daemon calls itself in the ledger. None stands for the machine's name.
    """

    url: str | None = None
    host_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")] | None = None


class SeriesSection(Section):
    """When a series counts as complete. `gap_seconds` (default 4 quiet times) is how long a gap is waited on."""

    quiet_seconds: Seconds = 30
    gap_seconds: Seconds | None = None
    abandon_minutes: Seconds = 60
    late_minutes: Seconds = 30

    @property
    def gap_wait_seconds(self) -> float:
        return 4 * self.quiet_seconds if self.gap_seconds is None else self.gap_seconds


class Match(Section):
    """A series matches where every stated condition holds. Regular expressions are searched, case ignored."""

    modality: str | None = None
    calling_ae: AeTitle | None = None
    body_part: Regex | None = None
    series_description: Regex | None = None


class Canary(Section):
    """A candidate that serves a share of a route's patients in its bundle's place. A patient stays on one side."""

    bundle: VersionName
    share: Annotated[float, Field(gt=0, lt=1)]

    def takes(self, patient: str) -> bool:
        """Whether this patient is among the share: by a digest, so that it is always the same patients."""
        place = int(hashlib.sha256(f"{self.bundle} {patient}".encode()).hexdigest()[:8], 16)
        return place / 2**32 < self.share


class Route(Section):
    """Which series, which bundles, to whom.

    `prefer`: regular expressions on SeriesDescription, best first. Where several reconstructions of one scan match,
    only the best is segmented and the others are listed. Empty: every series that matches is segmented.
    `rings`: a further ROI around each organ, where members disagree.
    `structure_sets`: whether several bundles make a structure set each, or one in common.
    `canary`: a candidate that serves a share of the patients.
    `shadow`: candidates that contour the same series once it is delivered. Nothing of that leaves the machine.
    """

    name: Name
    match: Match
    bundle: BundleNames
    structure_sets: Literal["separate", "joined"] = "separate"
    destinations: Names = ()
    rejected: Literal["omit", "send"] = "omit"
    rings: bool = False
    research: bool = False
    prefer: tuple[Regex, ...] = ()
    shadow: VersionNames = ()
    canary: Canary | None = None

    @model_validator(mode="after")
    def canary_takes_a_place(self) -> Self:
        if self.canary is not None and without_version(self.canary.bundle) not in map(without_version, self.bundle):
            raise ValueError(f"canary.bundle {self.canary.bundle} is no version of a bundle that the route names")
        return self

    def jobs_for(self, patient: str) -> tuple[str, ...]:
        """`jobs`, with the canary in its bundle's place for the patients that it takes."""
        if self.canary is None or not self.canary.takes(patient):
            return self.jobs
        return tuple(JOINER.join(map(self._or_canary, names.split(JOINER))) for names in self.jobs)

    def _or_canary(self, name: str) -> str:
        assert self.canary is not None
        return self.canary.bundle if without_version(name) == without_version(self.canary.bundle) else name

    @property
    def everything(self) -> tuple[str, ...]:
        """Every bundle that may serve a case of this route."""
        return (*self.bundle, *((self.canary.bundle,) if self.canary is not None else ()))

    @property
    def jobs(self) -> tuple[str, ...]:
        """The bundles of each job that a series of this route gets, several of one job with JOINER between them."""
        return (JOINER.join(self.bundle),) if self.structure_sets == "joined" else self.bundle


class DestinationPeer(Section):
    """Where results go. For this system `roi_names` renames organs, `colours` (RGB) paints them, `only` restricts them.

    Organs go by their TG-263 names. What is empty changes nothing. An organ's ring goes with it. With `flag_in_name`
    what is drawn and not OK has its flag at the end of its name. `review_colour` paints it.
    """

    name: Name
    ae_title: AeTitle
    host: Annotated[str, Field(min_length=1)]
    port: Port
    tls: bool = False
    send_images: bool = False
    commitment: bool = False
    roi_names: dict[str, Annotated[str, Field(min_length=1, max_length=16)]] = Field(default_factory=dict)
    colours: dict[str, tuple[Channel, Channel, Channel]] = Field(default_factory=dict)
    flag_in_name: bool = False
    review_colour: tuple[Channel, Channel, Channel] | None = None
    only: tuple[str, ...] = ()


class QueryPeer(Section):
    """A PACS that answers C-FIND and C-MOVE or C-GET."""

    name: Name
    ae_title: AeTitle
    host: Annotated[str, Field(min_length=1)]
    port: Port
    tls: bool = False


class Promotion(Section):
    """What a version must have shown before it takes the place of one that contours live cases.

    `shadow_cases`: so many in the shadow. `margin`: the Dice, or surface Dice, by which no organ may fall on approved
    contours. `approved`: whether there must be such contours.
    """

    shadow_cases: Annotated[int, Field(ge=0)] = 30
    margin: Annotated[float, Field(ge=0, lt=1)] = 0.02
    approved: bool = True


class Models(Section):
    """`directory`: None for the bundles that were installed with the package (`bundles.installed_models()`).

    `golden`: the folder of golden cases made of patients, which lie in no bundle.
    """

    directory: Path | None = None
    golden: Path | None = None
    promotion: Promotion = Promotion()


class Compute(Section):
    """What contours. `cluster`: where Ray answers that has further cards. `cluster_token`: a file with its token."""

    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = "auto"
    backend: Literal["auto", "torch", "openvino"] = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    threads: Annotated[int, Field(ge=0)] = 0
    devices: tuple[Annotated[str, Field(pattern=r"^(cpu|cuda:\d+)$")], ...] = ()
    cluster: RayAddress | None = None
    cluster_token: Path | None = None


class Jobs(Section):
    max_attempts: Annotated[int, Field(ge=1)] = 3
    timeout_seconds: Seconds = 1800
    shutdown_seconds: Seconds = 60


class DeliverySection(Section):
    first_retry_seconds: Seconds = 30
    longest_retry_seconds: Seconds = 3600
    refused_retry_hours: Annotated[float, Field(ge=0)] = 24
    give_up_after_hours: Seconds = 336
    probe_seconds: Seconds = 60


class BundleWishes(Section):
    """What a site wants otherwise of a bundle. `acceptable`: by organ, the Dice below which a contour is drawn anew."""

    acceptable: dict[str, Annotated[float, Field(gt=0, lt=1)]] = Field(default_factory=dict)


class Mail(Section):
    """Mail. `security`: how the connection is encrypted. `ca`: who signed the server's certificate, else the system's.

    The password of `user` never stands here: it is in `password_file`, or in the environment.
    """

    to: Names
    server: str = "localhost"
    port: Port = 25
    sender: str = "rtseg-daemon@localhost"
    security: Literal["none", "starttls", "tls"] = "none"
    ca: Path | None = None
    user: Annotated[str, Field(min_length=1)] | None = None
    password_file: Path | None = None

    @model_validator(mode="after")
    def logs_in_safely(self) -> Self:
        if self.user is not None and self.security == "none":
            raise ValueError("a password is not sent in the clear; say `security: starttls` or `tls` beside `user`")
        if self.password_file is not None and self.user is None:
            raise ValueError("there is a password_file and no `user`")
        return self


class Alarms(Section):
    """How people are told. `at_once`: states that are told as soon as they are reached. `digest`: a daily overview."""

    webhook: Annotated[str, Field(pattern=r"^https?://")] | None = None
    mail: Annotated[Mail | None, BeforeValidator(mail_address)] = None
    at_once: tuple[Literal["HELD", "FAILED", "UNROUTED", "ACTIVATED"], ...] = ()
    digest: Annotated[time | None, BeforeValidator(time_of_day)] = None


class Feedback(Section):
    """Structure sets that come back. Callers with `feedback: true` send them.

    `poll`: the query peers are asked for them too, every `poll_minutes`. `days`: how long after a delivery they are
    asked for and waited for, and what they are compared with is kept. `max_object_mb`: the largest that is taken.
    `only`: a list of PatientIDs, one a line, who agreed that their contours are learned from. None: all are exported.
    """

    poll: bool = False
    days: Annotated[float, Field(gt=0)] = 30
    poll_minutes: Seconds = 60
    max_object_mb: Annotated[int, Field(ge=1, le=4096)] = 512
    only: Path | None = None


class Logging(Section):
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    format: Literal["json", "text"] = "json"


class Collector(Section):
    """A syslog server for audit messages, over TLS (RFC 5425)."""

    host: Annotated[str, Field(min_length=1)]
    port: Port = 6514
    ca: Path


class Audit(Section):
    """The audit trail. None stands for `audit.log` in storage.directory."""

    file: Path | None = None
    syslog: Collector | None = None

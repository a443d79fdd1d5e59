"""Model bundles: a folder with `bundle.yaml`, the members' weights as safetensors, and a model card. Data only."""

import contextlib
import hashlib
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Literal

import yaml
from pydantic import Field, PositiveInt, ValidationError, model_validator

from rtseg_daemon.anatomy.sides import one_sided
from rtseg_daemon.calibration import Calibration, OrganPrior, StrictModel
from rtseg_daemon.config.file import Config
from rtseg_daemon.config.sections import Route
from rtseg_daemon.config.values import JOINER, without_version
from rtseg_daemon.errors import BundleError
from rtseg_daemon.versions import ACTIVE, BUNDLE, place_of, versions_of
from rtseg_daemon.versions import bundle_names as bundle_names  # who lists bundles need not know of versions

FORMAT_VERSION = 1

TARGETS = frozenset({"GTV", "CTV", "PTV"})
"""Interpreted types of what is irradiated: targets lie where the tumour is, on any side, over any organ, or nowhere."""

ONE_PASS = frozenset({"anatomynet", "focusnet"})
"""Families that see the whole volume at once: squeeze-and-excite and localisation mean nothing in a part of it."""

DIVISOR: dict[str, tuple[int, int, int]] = {
    "sepnet": (8, 8, 8),
    "unet3d": (8, 8, 8),
    "gtv": (1, 8, 8),
    "anatomynet": (2, 2, 2),
    "focusnet": (2, 2, 2),
}
"""What each side (z, y, x) of a family's window must be a multiple of."""


Family = Literal["sepnet", "unet3d", "gtv", "anatomynet", "focusnet"]

Intensity = Literal["SLF1", "SLF2", "SLF3", "NLF1", "NLF2", "GTV"]

InPlane = Literal["average", "sample"]


class OrganClass(StrictModel):
    """One output channel of the members after the background, in order.

    Args:
        name: TG-263 name, at most 16 characters.
        snomed: SNOMED CT code and meaning for the RT ROI identification sequence.
        fma: FMA code and meaning.
        colour: RGB, 0 to 255.
        interpreted_type: RTROIInterpretedType.
        weights: ensemble weight of each member for this class, in member order (paper: 5, 4, 3, 1, 1, 1).
        scale: factor on every member's probability of this class. Undoes the class weights of the training's loss.
        largest_component: keep only the largest connected part.
        volume_ml: plausible range in the population, or None if unknown.
        side: where the organ lies of the patient's midline, or `none` for organs on it.
        acceptable: Dice below which a contour of this organ is not acceptable. Clinical, or a site's own.
        runs_on: whether the organ goes on beyond the lower end of every scan, so that an end inside the scan is early.
        early_end_mm: how far above the lower end of the scan it may end all the same.
        prior: how the organ looks in the population, or None if unknown.
        review_below, reject_below: thresholds on the predicted Dice, of a calibration without a spread.
    """

    name: str = Field(max_length=16)
    snomed: tuple[str, str] | None = None
    fma: tuple[str, str] | None = None
    colour: tuple[int, int, int] = (255, 255, 0)
    interpreted_type: str = "ORGAN"
    weights: list[float] = Field(default_factory=list)
    scale: float = Field(default=1.0, gt=0)
    largest_component: bool = True
    volume_ml: tuple[float, float] | None = None
    side: Literal["left", "right", "none"] = "none"
    review_below: float | None = None
    reject_below: float | None = None
    calibration: Calibration | None = None
    acceptable: float = Field(default=0.6, gt=0, lt=1)
    runs_on: bool = False
    early_end_mm: float = 25.0
    prior: OrganPrior | None = None

    @property
    def target(self) -> bool:
        return self.interpreted_type in TARGETS


class MemberFile(StrictModel):
    """One member: its weights' file and digest, and the intensity transform it was trained with (SLF1, ...).

    `mirror`: it sees the patient with left and right exchanged, and its answer is turned back. Members trained on
    flipped patches then differ more, at no cost, and what they say together is better than without.
    """

    name: str
    file: str
    sha256: str
    intensity: Intensity
    alpha: float | None = None
    mirror: bool = False


class Limits(StrictModel):
    """For what the bundle was validated. Outside these a series is held or flagged (see gates)."""

    positions: list[str] = Field(default_factory=lambda: ["HFS"])
    slice_spacing_mm: tuple[float, float] = (0.5, 5.0)
    pixel_spacing_mm: tuple[float, float] = (0.3, 6.0)
    slice_distance_tolerance: float = Field(default=0.01, ge=0.01, le=0.25)
    """How far a slice distance may be off the usual one, as a fraction of it. Beyond that a series is held. A missing
    slice doubles a distance, so that it is never within what a bundle can allow."""
    minimum_slices: int = 16
    minimum_organs: int = 2


class Minimum(StrictModel):
    """What a person demanded before this bundle could take its place, on validation cases.

    Args:
        dice: least mean Dice, by organ.
        auroc: how well the predicted Dice tells bad organs from good ones.
        caught: share of the bad organs that REVIEW marks.
    """

    dice: dict[str, float]
    auroc: float = Field(ge=0, le=1)
    caught: float = Field(ge=0, le=1)


class Golden(StrictModel):
    """A case that every later bundle of this name must still contour, and the Dice per organ that was reached there.

    A phantom (`demo.phantom`) of this `seed` and `matrix`, or a patient's: `file` with this digest, in a folder that a
    department keeps apart.
    """

    seed: int | None = None
    matrix: int | None = None
    file: str | None = None
    sha256: str | None = None
    dice: dict[str, float]

    @model_validator(mode="after")
    def _is_one_of_both(self) -> "Golden":
        phantom, patient = (self.seed, self.matrix), (self.file, self.sha256)
        if (None in phantom) == (None in patient) or not (set(phantom) == {None} or set(patient) == {None}):
            raise ValueError("a golden case has seed and matrix, or file and sha256")
        return self

    @property
    def label(self) -> str:
        """The seed of a phantom, the file of a patient."""
        return str(self.seed) if self.file is None else self.file

    @property
    def key(self) -> tuple[int | None, int | None, str | None]:
        """Tells golden cases apart."""
        return self.seed, self.matrix, self.sha256


class Bundle(StrictModel):
    """`bundle.yaml`. Shapes and spacing count (z, y, x).

    `window`: the shape of the training's patches. Without a `window_step` every volume goes through in windows of this
    shape. With one the bundle was validated on whole volumes, and the window grows in these steps until it holds the
    volume.
    `in_plane`: how larger pixels are made of a CT's smaller ones, so that they look as those of the training did.
    `entropy_level`: vote entropy (nats) from which on a voxel is shown as doubtful in a ring, without a calibration the
    least disagreement of six members, 5 votes against 1.
    `known_limits`: sentences for the card, by whoever knows the training cases.
    `learned`, `calibrated_on`: digests of cases and patients, with blanks between them. A list of hundreds in YAML
    would make each job wait.
    """

    format: int
    name: str = Field(max_length=16, pattern=r"^[^+@/]+$")
    version: str
    intended_use: Literal["evaluation", "clinical", "research"]
    description: str
    family: Family
    arguments: dict[str, int | float | str | list[int]]
    classes: list[OrganClass]
    members: list[MemberFile]
    spacing_mm: tuple[float, float, float]
    window: tuple[int, int, int]
    window_step: tuple[PositiveInt, PositiveInt, PositiveInt] | None = None
    extent_mm: tuple[float, float, float]
    in_plane: InPlane = "average"
    overlap: float = 0.25
    temperature: float = 1.0
    entropy_level: float = Field(default=0.45, gt=0)
    review_above: float = Field(default=0.2, gt=0, le=1)
    reject_above: float = Field(default=0.8, gt=0, le=1)
    limits: Limits = Limits()
    provenance: dict[str, str] = Field(default_factory=dict)
    figures: dict[str, dict[str, float]] = Field(default_factory=dict)
    golden: list[Golden] = Field(default_factory=list)
    minimum: Minimum | None = None
    known_limits: list[str] = Field(default_factory=list)
    learned: str = ""
    calibrated_on: str = ""

    _folder: Path = Path()
    _digest: str = ""

    @property
    def folder(self) -> Path:
        return self._folder

    @property
    def digest(self) -> str:
        """SHA-256 of bundle.yaml, which itself names the digest of every member: one number for the whole bundle."""
        return self._digest

    @property
    def class_names(self) -> list[str]:
        """The members' output channels in order, background first."""
        return ["background", *(organ.name for organ in self.classes)]

    @property
    def research(self) -> bool:
        return self.intended_use == "research"

    @property
    def label(self) -> str:
        """Name and version in the 16 characters of a StructureSetLabel."""
        return f"{self.name} {self.version}"[:16]

    @property
    def extent(self) -> tuple[int, int, int]:
        """The largest volume that reaches the members, in voxels."""
        z, y, x = (round(mm / step) for mm, step in zip(self.extent_mm, self.spacing_mm, strict=True))
        return z, y, x

    def member_path(self, member: MemberFile) -> Path:
        return self._folder / member.file


def installed_models() -> Path:
    """The bundles that came with the package: the wheel's own, or the checkout's in an editable install."""
    package = Path(__file__).parent
    return package / "_models" if (package / "_models").is_dir() else package.parent / "models"


def models_of(config: Config) -> Path:
    """Where this configuration's bundles lie: `models.directory`, or those that came with the package."""
    return config.models.directory or installed_models()


def load_bundle(models: Path, name: str) -> Bundle:
    """Read and verify the bundle `name`: the version that serves, or the one that `NAME@VERSION` says.

    Raises BundleError naming the file that is missing, altered or wrong.
    """
    place = place_of(models, name)
    bundle = read_bundle(place.folder, {without_version(name)})
    if place.digest and bundle.digest != place.digest:
        raise BundleError(
            f"{place.folder} is not what was activated (its digest differs): a version never changes once it is "
            f"there; install {bundle.name} {place.version} again, or activate it as it is now"
        )
    if place.version and bundle.version != place.version:
        raise BundleError(f"{place.folder} holds version {bundle.version}; name the folder as its bundle.yaml says")
    return bundle


def bundle_in(folder: Path) -> Bundle:
    """The bundle in `folder`: `NAME/`, the version of it that serves, or `NAME/VERSION/`. Raises BundleError."""
    if (folder / BUNDLE).is_file() and not (folder / ACTIVE).exists():
        return read_bundle(folder, {folder.name, folder.parent.name})
    return load_bundle(folder.parent, folder.name)


def read_bundle(folder: Path, names: Collection[str]) -> Bundle:
    """Read and verify the bundle in exactly this folder, of one of these names. Raises BundleError."""
    path = folder / BUNDLE
    try:
        raw = path.read_bytes()
        bundle = Bundle.model_validate(yaml.safe_load(raw))
    except OSError as error:
        raise BundleError(f"{path} cannot be read ({error.strerror}); install the bundle again") from error
    except (yaml.YAMLError, ValidationError) as error:
        raise BundleError(f"{path} is not a bundle of format {FORMAT_VERSION}: {error}") from error
    if bundle.format != FORMAT_VERSION or bundle.name not in names:
        known = " or ".join(map(repr, sorted(names)))
        raise BundleError(f"{path}: format {bundle.format}, name {bundle.name!r}; expected {FORMAT_VERSION}, {known}")
    bundle._folder = folder
    bundle._digest = hashlib.sha256(raw).hexdigest()
    verify(bundle)
    return bundle


def digests(models: Path) -> dict[str, str]:
    """Digest -> version of all that is installed, those too that do not serve. Unreadable ones are left out."""
    found = {}
    for name in bundle_names(models):
        for version, folder in versions_of(models, name).items():
            with contextlib.suppress(OSError):
                found[hashlib.sha256((folder / BUNDLE).read_bytes()).hexdigest()] = version
    return found


def readable_bundles(models: Path, names: str) -> list[Bundle]:
    """A job's bundles (`A+B`) without those that are not there or are damaged."""
    found = []
    for name in names.split(JOINER):
        with contextlib.suppress(BundleError):
            found.append(load_bundle(models, name))
    return found


def research_fault(bundle: Bundle, route: Route | None) -> str | None:
    """Why what the bundle makes must not be sent by this route, or None where it may be sent.

    `route` is None where a job's route is no longer configured: nothing allows research then.
    """
    if not bundle.research or (route is not None and route.research):
        return None
    if route is None:
        return f"bundle {bundle.name} is for research only and its route is no longer configured"
    return f"bundle {bundle.name} is for research only and route {route.name!r} does not say `research: true`"


def research_faults(bundles: Iterable[Bundle], route: Route | None) -> list[str]:
    """The faults of several bundles that make one structure set, empty where it may be sent."""
    return [fault for bundle in bundles if (fault := research_fault(bundle, route))]


def load_bundles(models: Path, names: str) -> tuple[Bundle, ...]:
    """One bundle, or several with JOINER between their names. Raises BundleError also where one is named twice."""
    parts = names.split(JOINER)
    if len({without_version(part) for part in parts}) < len(parts):
        raise BundleError(f"{names} names a bundle twice; name each once")
    return tuple(load_bundle(models, part) for part in parts)


def bundles_for(config: Config, names: str) -> tuple[Bundle, ...]:
    """The bundles of a job (`A+B`), with the limits that this site has set. Raises BundleError."""
    return tuple(at_site(bundle, config) for bundle in load_bundles(models_of(config), names))


def at_site(bundle: Bundle, config: Config) -> Bundle:
    """`bundle` with the site's own limits of what is acceptable. Raises BundleError for an organ that it lacks."""
    wishes = config.bundles.get(bundle.name)
    if wishes is None:
        return bundle
    names = [organ.name for organ in bundle.classes]
    if unknown := sorted(wishes.acceptable.keys() - set(names)):
        raise BundleError(
            f"bundles.{bundle.name}.acceptable names {', '.join(unknown)}, which the bundle does not contour; it has "
            f"{', '.join(names)}"
        )
    limits = wishes.acceptable
    classes = [c.model_copy(update={"acceptable": limits.get(c.name, c.acceptable)}) for c in bundle.classes]
    return bundle.model_copy(update={"classes": classes})


def digest_of(bundles: Sequence[Bundle]) -> str:
    """The digests of the bundles of one structure set, in their order, as their names are written."""
    return JOINER.join(bundle.digest for bundle in bundles)


def not_multiples(family: str, window: tuple[int, int, int], step: tuple[int, int, int] | None) -> str:
    """What is wrong with sides that the family's halvings do not divide, empty where nothing is."""
    divisor = DIVISOR[family]
    for name, shape in (("window", window), ("window_step", step)):
        if shape is not None and any(n < d or n % d for n, d in zip(shape, divisor, strict=True)):
            return f"{name} {list(shape)}: {family} needs multiples of {list(divisor)} (z, y, x)"
    return ""


def verify(bundle: Bundle) -> None:
    """Compare every member's file with its digest, and the rest with itself. Raises BundleError for what is wrong."""
    for member in bundle.members:
        path = bundle.member_path(member)
        if path.parent != bundle.folder or not path.is_file():
            raise BundleError(f"bundle {bundle.name}: {path} is missing; install the bundle again")
        if hashlib.sha256(path.read_bytes()).hexdigest() != member.sha256:
            raise BundleError(f"bundle {bundle.name}: {path} was altered (digest differs); install the bundle again")
    if fault := not_multiples(bundle.family, bundle.window, bundle.window_step):
        raise BundleError(f"bundle {bundle.name}: {fault}")
    lone = one_sided(bundle.class_names)
    if lone and any(member.mirror for member in bundle.members):
        raise BundleError(f"bundle {bundle.name}: a member is mirrored, but {lone[0]} has no class for the other side")
    for organ in bundle.classes:
        if len(organ.weights) != len(bundle.members):
            raise BundleError(
                f"bundle {bundle.name}: {organ.name} has {len(organ.weights)} weights for {len(bundle.members)} members"
            )
        if sum(organ.weights) <= 0 or min(organ.weights) < 0:
            raise BundleError(f"bundle {bundle.name}: the weights of {organ.name} must not be negative or all 0")
    if bundle.family in ONE_PASS and any(n > w for n, w in zip(bundle.extent, bundle.window, strict=True)):
        raise BundleError(
            f"bundle {bundle.name}: {bundle.family} takes the whole volume in one window, but extent_mm is "
            f"{list(bundle.extent)} voxels and window is {list(bundle.window)}; export it with a window of that shape"
        )

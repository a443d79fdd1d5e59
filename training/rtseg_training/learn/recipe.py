"""A recipe: everything one experiment needs, as YAML. Unknown keys are errors."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PositiveInt, ValidationError, model_validator

from rtseg_daemon.anatomy.sides import one_sided
from rtseg_daemon.bundles import Family, InPlane, Intensity, not_multiples
from rtseg_daemon.calibration import StrictModel
from rtseg_daemon.storage import write_durably
from rtseg_training.errors import RecipeError

COMMON = frozenset(
    {"name", "classes", "spacing_mm", "in_plane", "extent_mm", "jitter", "exclude", "small_organs", "box_diameters",
     "validate_cases", "limits", "largest_component", "members"}
)  # fmt: skip
"""Keys that no member may change: how cases are prepared, and what the members answer."""


def check_member_name(value: str) -> str:
    """A name and no path: a folder and a file are called by it."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", value):
        raise ValueError(f"{value!r} is no name; write letters, digits, `_`, `.` and `-`, at most 64 of them")
    return value


MemberName = Annotated[str, AfterValidator(check_member_name)]

OrganName = Annotated[str, Field(min_length=1, max_length=16)]
"""As long as some planning systems take: a longer one would fail when the bundle is made."""

Millimetres = Annotated[float, Field(gt=0, le=3000, allow_inf_nan=False)]
Side = Annotated[int, Field(ge=1, le=1024)]
"""Voxels."""
Jitter = Annotated[int, Field(ge=0, le=512)]


class Optimizer(StrictModel):
    """Optimizer of the whole run. `lr` is the schedule's starting (or peak) rate."""

    name: Literal["adam", "rmsprop", "sgd"] = "adam"
    lr: float = Field(default=1e-3, gt=0, le=10)
    weight_decay: float = Field(default=1e-8, ge=0, le=1)
    momentum: float = Field(default=0.9, ge=0, lt=1)


class Schedule(StrictModel):
    """`step`: times `factor` every `every` steps (the papers'), `cosine`: to zero at the last step, after a warm-up."""

    name: Literal["step", "cosine", "constant"] = "cosine"
    warmup: int = Field(default=100, ge=0)
    every: PositiveInt = 1000
    factor: float = Field(default=0.9, gt=0, le=1)


class Loss(StrictModel):
    """`ath_l_exp`, `l_exp` (3D-SepNet), `dice`, `pooled_dice` (GTV), `dice_focal` (AnatomyNet), `tversky` (the same
    without its focal part) or `focal_dice` (FocusNet).

    `marginal`: an organ that is not drawn in a case counts as background there. Otherwise such a case's background
    teaches nothing (AnatomyNet's mask, which `dice_focal` and `tversky` always use).
    """

    name: Literal["ath_l_exp", "l_exp", "dice", "pooled_dice", "dice_focal", "tversky", "focal_dice"] = "ath_l_exp"
    alpha: float = Field(default=0.5, ge=0.1, le=10)
    gamma: float = Field(default=1.0, gt=0, le=10)
    marginal: bool = True


class Augment(StrictModel):
    """Random changes of each patch. Zeros switch a kind off. Angles in degrees, lengths in mm, intensities in HU.

    `warp` is the share of patches that are turned, scaled and bent: doing so reads the image between its voxels, which
    blurs it, and a network that never saw a sharp patch in training meets only sharp ones in use.
    """

    flip: float = Field(default=0.5, ge=0, le=1)
    warp: float = Field(default=1.0, ge=0, le=1)
    rotate_deg: float = Field(default=8.0, ge=0, le=180)
    scale: float = Field(default=0.1, ge=0, lt=1)
    elastic_mm: float = Field(default=4.0, ge=0, le=50)
    noise_hu: float = Field(default=20.0, ge=0, le=1000)
    shift_hu: float = Field(default=20.0, ge=0, le=1000)
    contrast: float = Field(default=0.05, ge=0, lt=1)
    blur: float = Field(default=0.12, ge=0, le=0.5)


class Bounds(StrictModel):
    """For which CTs the bundle may serve, where not what the training cases cover is meant (`bundles.Limits`).

    `known`: sentences for the card on what the training cases were, and where the bundle ends.
    """

    positions: list[str] | None = None
    slice_spacing_mm: tuple[Millimetres, Millimetres] | None = None
    pixel_spacing_mm: tuple[Millimetres, Millimetres] | None = None
    slice_distance_tolerance: float | None = Field(default=None, ge=0.01, le=0.25)
    minimum_slices: PositiveInt | None = None
    minimum_organs: int | None = Field(default=None, ge=0)
    known: list[str] = Field(default_factory=list)


class Member(BaseModel):
    """One member of an ensemble, or one stage of a training: its seed, whose weights it starts from, and its changes.

    Every further key is one of the recipe's. A group (`loss: {alpha: 0.5}`) changes what it names and keeps the rest.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    name: MemberName
    seed: int = Field(default=0, ge=0, lt=2**32)
    start: MemberName | None = None

    @property
    def changes(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class Recipe(StrictModel):
    """One experiment. Shapes and spacing count (z, y, x).

    Args:
        patch: fixed shape of every patch, and of the daemon's windows.
        window_step: validated and used on whole volumes: the window grows from `patch` in these steps until it holds
            one (multiples of what the family halves), or None for every volume in windows of `patch`.
        extent_mm: how much of the patient is looked at, from the top of the head down.
        in_plane: how larger pixels are made of a CT's smaller ones: `average`, or `sample` if the training CTs have
            large pixels already that were sampled from smaller ones.
        sample_mm: the part of it that patches come from, hung from the same top and centred in-plane, or None for
            all of it.
        jitter: twice the voxels by which a patch may reach past the cropped patient.
        exclude: names of training cases that are left out, for example because their contours do not fit their CT.
        stage: which part of FocusNet learns (`rtseg_training.learn.focus`), or None for the other families.
        small_organs: FocusNet's small organs. Their channels and boxes are measured on the training set.
        box_diameters: side of a small organ's box in mean diameters (3 in the paper).
        foreground: share of the patches that are centred on a voxel of a drawn organ, each organ as often as another.
        precision: `bf16`: mixed, where the hardware multiplies in bf16, elsewhere and with `fp32` float32.
        mirror: in use, a member sees the patient mirrored. Only for members trained on flipped patches.
        limits: for which CTs the bundle may serve. What it does not say is taken from the training cases.
        largest_component: whether the bundle keeps an organ's largest part alone, for all organs or by name. Left out:
            organs do, and targets keep all their parts.
        ema: decay of the moving average of the weights, which is what is validated and exported.
    """

    name: Annotated[str, Field(min_length=1, max_length=100)]
    family: Family = "sepnet"
    arguments: dict[str, int | float | str | list[int]] = Field(default_factory=dict)
    classes: list[OrganName] = Field(min_length=1)
    spacing_mm: tuple[Millimetres, Millimetres, Millimetres]
    patch: tuple[Side, Side, Side]
    window_step: tuple[Side, Side, Side] | None = None
    extent_mm: tuple[Millimetres, Millimetres, Millimetres]
    in_plane: InPlane = "average"
    sample_mm: tuple[Millimetres, Millimetres, Millimetres] | None = None
    jitter: tuple[Jitter, Jitter, Jitter] = (8, 8, 6)
    stage: Literal["semantic", "localise", "small", "joint"] | None = None
    small_organs: list[str] = Field(default_factory=list)
    box_diameters: float = Field(default=3.0, gt=0, le=20)
    foreground: float = Field(default=0.0, ge=0, le=1)
    intensity: list[Intensity] = Field(default=["SLF1"], min_length=1)
    mirror: bool = False
    loss: Loss = Loss()
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    augment: Augment = Augment()
    batch: PositiveInt = 1
    steps: PositiveInt = 4000
    ema: float = Field(default=0.998, ge=0, lt=1)
    precision: Literal["bf16", "fp32"] = "bf16"
    validate_every: PositiveInt = 500
    validate_cases: PositiveInt = 8
    exclude: list[str] = Field(default_factory=list)
    limits: Bounds = Bounds()
    largest_component: bool | dict[str, bool] = Field(default_factory=dict)
    members: list[Member] = Field(min_length=1)

    @model_validator(mode="after")
    def _flips_have_twins(self) -> "Recipe":
        lone = one_sided(self.classes)
        if lone and self.augment.flip:
            raise ValueError(f"{lone[0]} has no class for the other side to flip with; set augment.flip: 0")
        if self.mirror and not self.augment.flip:
            raise ValueError("mirror: true needs members trained on flipped patches; set augment.flip above 0")
        return self

    @model_validator(mode="after")
    def _fits_its_family(self) -> "Recipe":
        if fault := not_multiples(self.family, self.patch, self.window_step):
            raise ValueError(fault.replace("window ", "patch ", 1))
        named = self.largest_component if isinstance(self.largest_component, dict) else {}
        if unknown := set(named) - set(self.classes):
            raise ValueError(f"largest_component names {min(unknown)}, which is not among the classes")
        width = self.arguments.get("width", 1)
        if not isinstance(width, int) or not 1 <= width <= 1024:
            raise ValueError(f"arguments.width is {width!r}; write a whole number from 1 to 1024")
        if (self.stage or self.small_organs) and self.family != "focusnet":
            raise ValueError("stage and small_organs are FocusNet's; leave them out")
        if unknown := set(self.small_organs) - set(self.classes):
            raise ValueError(f"small_organs names {min(unknown)}, which is not among the classes")
        return self

    @model_validator(mode="after")
    def _names_are_single(self) -> "Recipe":
        for what, names in (("class", self.classes), ("member", [member.name for member in self.members])):
            folded = [name.casefold() for name in names]  # a file system may know no case
            twice = [name for name, small in zip(names, folded, strict=True) if folded.count(small) > 1]
            if twice:
                raise ValueError(f"{what} {twice[0]} is there twice; give each a name of its own")
        return self

    def check_starts(self) -> None:
        """Raise RecipeError for a member that starts from one that is not there, or in the end from itself."""
        starts = {member.name: member.start for member in self.members}
        for name in starts:
            way = [name]
            while (before := starts[way[-1]]) is not None:
                if before not in starts:
                    raise RecipeError(f"recipe {self.name}, member {way[-1]}: start names {before}, which is no member")
                if before in way:
                    circle = " starts from ".join([*way, before])
                    raise RecipeError(f"recipe {self.name}: {circle}; one of them must begin with its own seed")
                way.append(before)

    def member(self, name: str) -> Member:
        """The member called `name`. Raises RecipeError with the known names."""
        for member in self.members:
            if member.name == name:
                return member
        raise RecipeError(f"recipe {self.name} has no member {name}; it has {', '.join(m.name for m in self.members)}")

    def for_member(self, member: Member) -> "Recipe":
        """This recipe with what `member` changes. Raises RecipeError naming the key that is wrong."""
        common = COMMON & member.changes.keys()
        if common:
            raise RecipeError(
                f"recipe {self.name}, member {member.name}: {sorted(common)[0]} is the same for all members, since "
                "cases are prepared once; set it for the whole recipe, or write another recipe"
            )
        document = self.model_dump(exclude={"members"})
        for key, value in member.changes.items():
            old = document.get(key)
            document[key] = old | value if isinstance(old, dict) and isinstance(value, dict) else value
        try:
            return Recipe.model_validate({**document, "members": [member]})
        except ValidationError as error:
            raise RecipeError(f"recipe {self.name}, member {member.name}: {first_fault(error)}") from error


def first_fault(error: ValidationError) -> str:
    """The first wrong key and what is wrong with it."""
    first = error.errors()[0]
    return ": ".join(part for part in (".".join(map(str, first["loc"])), first["msg"]) if part)


def save_recipe(recipe: Recipe, path: Path) -> Path:
    """Write a recipe that was made, not written by hand, beside its runs. What stood there is replaced whole."""
    write_durably(path, yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False).encode(), mode=0o644)
    return path


def load_recipe(path: Path) -> Recipe:
    """Read a recipe. Raises RecipeError naming the key that is wrong."""
    try:
        recipe = Recipe.model_validate(yaml.safe_load(path.read_text()))
    except ValidationError as error:
        raise RecipeError(f"{path}: {first_fault(error)}") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RecipeError(f"{path} cannot be read as YAML: {error}") from error
    recipe.check_starts()
    for member in recipe.members:
        recipe.for_member(member)
    return recipe

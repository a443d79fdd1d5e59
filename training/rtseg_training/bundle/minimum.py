"""What a person demands of a bundle before it takes its place: Dice per organ, AUROC and catch rate on validation."""

import math
from collections.abc import Iterator, Sequence

from rtseg_daemon.bundles import Bundle, Minimum
from rtseg_training.errors import ExportError

ASKED = (
    "say what it must reach on the validation cases: --minimum dice=0.6 for every organ, --minimum dice:Larynx=0.5 for "
    "one, --minimum auroc=0.6 and --minimum caught=0.3; 0 demands nothing"
)


def read_minimum(items: Sequence[str], organs: Sequence[str]) -> Minimum:
    """What `dice=0.6`, `dice:Larynx=0.5`, `auroc=0.6` and `caught=0.3` demand. Raises ExportError for anything else."""
    found: dict[str, float] = {}
    for item in items:
        key, _, value = item.partition("=")
        if key not in ("dice", "auroc", "caught", *(f"dice:{organ}" for organ in organs)):
            raise ExportError(f"--minimum {item}: {key} is no figure of this bundle ({', '.join(organs)}); {ASKED}")
        try:
            found[key] = float(value)
        except ValueError as error:
            raise ExportError(f"--minimum {item}: {value!r} is no number; {ASKED}") from error
        if not 0 <= found[key] <= 1:
            raise ExportError(f"--minimum {item}: figures lie between 0 and 1")
    missing = [name for name in ("auroc", "caught") if name not in found]
    missing += [f"dice:{organ}" for organ in organs if "dice" not in found and f"dice:{organ}" not in found]
    if missing:
        raise ExportError(f"--minimum says nothing of {', '.join(missing)}; {ASKED}")
    dice = {organ: found.get(f"dice:{organ}", found.get("dice", 0.0)) for organ in organs}
    return Minimum(dice=dice, auroc=found["auroc"], caught=found["caught"])


def demanded(items: Sequence[str], bundle: Bundle, measured: bool) -> Minimum | None:
    """What this bundle must reach, as given now or as it carries from before. None: nothing is asked.

    Raises ExportError where a bundle that may serve is measured and nobody said how good it must be, and where
    somebody did and nothing is measured.
    """
    organs = [organ.name for organ in bundle.classes]
    if items and not measured:
        raise ExportError("--minimum needs validation cases to be measured on: add --validation")
    if items:
        return read_minimum(items, organs)
    if bundle.minimum is not None and measured:
        return bundle.minimum
    if measured and not bundle.research:
        raise ExportError(f"bundle {bundle.name} may serve patients: {ASKED}")
    return None


def below(bundle: Bundle, minimum: Minimum) -> Iterator[str]:
    """Every figure that falls short. One that could not be measured falls short of all that is more than 0."""
    for organ, least in minimum.dice.items():
        yield from short(f"Dice of {organ}", bundle.figures.get(organ, {}).get("dice"), least)
    calibration = bundle.figures.get("calibration", {})
    yield from short("AUROC", calibration.get("auroc"), minimum.auroc)
    yield from short("share of bad organs that are caught", calibration.get("caught"), minimum.caught)


def short(what: str, figure: float | None, least: float) -> Iterator[str]:
    if least <= 0:
        return
    if figure is None or math.isnan(figure):
        yield f"{what} could not be measured, at least {least:g} is asked"
    elif figure < least:
        yield f"{what} is {figure:.3f}, at least {least:g} is asked"


def require(bundle: Bundle, minimum: Minimum | None) -> Bundle:
    """`bundle` with what was demanded of it. Raises ExportError naming every figure that falls short."""
    if minimum is None:
        return bundle
    faults = list(below(bundle, minimum))
    if faults:
        raise ExportError(
            f"bundle {bundle.name} {bundle.version} not promoted: {'; '.join(faults)}. Train it further, look at the "
            "cases, or ask for less"
        )
    return bundle.model_copy(update={"minimum": minimum})

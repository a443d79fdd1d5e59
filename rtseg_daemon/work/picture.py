"""The page to review a case by: each organ where the members disagree most, in its middle, and along its length.

It says what the ROI comments say, in the same slice numbers. This module loads matplotlib.
"""

import io
import textwrap
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from rtseg_daemon.anatomy.organ import GRAVITY, Flag, Organ
from rtseg_daemon.anatomy.volume import Volume
from rtseg_daemon.bundles import Bundle
from rtseg_daemon.rtstruct.codes import anatomy_of
from rtseg_daemon.rtstruct.equipment import PRODUCT, own_version
from rtseg_daemon.storage import write_durably
from rtseg_daemon.work.case import CaseResult, kind_of
from rtseg_daemon.work.cuts import NAMES, Cut, views_of
from rtseg_daemon.work.planes import EDGED, mark, show_contour, show_doubt, show_letters, show_pixels, window_of

DPI = 100
COLUMNS = 2
PANEL_IN, GAP_IN, ROW_GAP_IN, HEAD_IN, TOP_IN, FOOT_IN = 2.45, 0.08, 0.22, 0.8, 0.5, 0.36
"""Sides of a panel, gaps, the text above an organ's panels, and the page's own head and foot, in inches."""

BACK, INK, FAINT = "#101418", "#e8eaed", "#9aa4ad"
FLAG_COLOURS = {Flag.OK: "#5fd08a", Flag.REVIEW: "#ffc14d", Flag.REJECT: "#ff6b6b"}
LINE_CHARACTERS = 112
REASON_LINES = 2
CASE_LINES = 4
LINE_IN = 0.17
LONG = 2
"""The last of the three panels of an organ."""


def save_picture(result: CaseResult, path: Path, *, rejected: str = "omit", mode: int = 0o600) -> None:
    """Draw the case's page and write it durably to `path`, a PNG. Raises OSError where that is not possible."""
    write_durably(path, picture_of(result, rejected=rejected), mode=mode)


def picture_of(result: CaseResult, *, rejected: str = "omit") -> bytes:
    """The page as a PNG."""
    page, buffer = page_of(result, rejected=rejected), io.BytesIO()
    page.savefig(buffer, format="png", dpi=DPI, facecolor=BACK)
    return buffer.getvalue()


def page_of(result: CaseResult, *, rejected: str = "omit") -> Figure:
    """The page. What is to be looked at first stands first. The case must have been segmented."""
    assert result.series is not None
    organs = sorted((organ for organ in result.organs if organ.found), key=lambda organ: -GRAVITY[organ.flag])
    rows = -(-len(organs) // COLUMNS)
    block = 3 * PANEL_IN + 4 * GAP_IN
    above = TOP_IN + LINE_IN * min(CASE_LINES, len(case_lines(result)) + len(absent_lines(result)))
    width, height = COLUMNS * block + GAP_IN, above + rows * (HEAD_IN + PANEL_IN + ROW_GAP_IN) + FOOT_IN
    page = Page(Figure(figsize=(width, height), facecolor=BACK, dpi=DPI), width, height)
    page.head(result)
    colours = {organ.name: colour_of(organ, result.bundles) for organ in organs}
    for place, organ in enumerate(organs):
        left = GAP_IN + (place % COLUMNS) * block
        top = above + (place // COLUMNS) * (HEAD_IN + PANEL_IN + ROW_GAP_IN)
        page.organ(organ, result, left, top, colours, sent=organ.sent("send" if rejected == "send" else "omit"))
    page.foot()
    FigureCanvasAgg(page.figure)
    return page.figure


def colour_of(organ: Organ, bundles: Sequence[Bundle]) -> tuple[float, float, float]:
    """The colour that the organ has in the structure set, 0 to 1."""
    bundle = next((one for one in bundles if organ.origin and one.name == organ.origin[0]), bundles[0])
    red, green, blue = anatomy_of(organ.origin[1] if organ.origin else organ.name, bundle).colour
    return red / 255, green / 255, blue / 255


def entropy_of(organ: Organ, result: CaseResult) -> tuple[Volume | None, float]:
    """The vote entropy of the bundle that drew the organ, and from which entropy on it counts as doubt."""
    for bundle, entropy in zip(result.bundles, result.entropies, strict=False):
        if organ.origin is None or bundle.name == organ.origin[0]:
            return entropy, bundle.entropy_level
    return None, 0.0


def dice_line(organ: Organ) -> str:
    """Predicted Dice with its interval, and the volume."""
    parts = [f"{organ.volume_ml:.1f} ml"] if organ.found else []
    if organ.predicted_dice is not None:
        span = f" [{organ.interval[0]:.2f}\u2013{organ.interval[1]:.2f}]" if organ.interval else ""
        parts.insert(0, f"predicted Dice {organ.predicted_dice:.2f}{span}")
    return "   ".join(parts)


class Page:
    """A figure that is filled from the top, in inches."""

    def __init__(self, figure: Figure, width: float, height: float) -> None:
        self.figure, self.width, self.height = figure, width, height

    def text(self, left: float, top: float, words: str, **style: object) -> None:
        """Words whose upper left corner lies there."""
        place = left / self.width, 1 - top / self.height
        self.figure.text(*place, words, va="top", parse_math=False, **({"color": INK} | style))  # type: ignore[arg-type]

    def panel(self, left: float, top: float) -> Axes:
        bottom = self.height - top - PANEL_IN
        size = PANEL_IN / self.width, PANEL_IN / self.height
        return self.figure.add_axes((left / self.width, bottom / self.height, *size))

    def head(self, result: CaseResult) -> None:
        """Which case, of which bundle, and what the gates say of the images or of the whole."""
        assert result.series is not None
        header = result.series.header
        made_by = " + ".join(bundle.label for bundle in result.bundles)
        of = f"patient {header.get('PatientID') or '-'}   CT of {shown_date(header.get('StudyDate'))}"
        slices = result.series.volume.shape[0]
        self.text(0.15, 0.12, f"{made_by}   {of}   {slices} slices", fontsize=12, weight="bold")
        lines = [*case_lines(result), *absent_lines(result)][:CASE_LINES]
        for number, (words, colour) in enumerate(lines):
            words = textwrap.shorten(words, 2 * LINE_CHARACTERS, placeholder=" \u2026")
            self.text(0.15, 0.4 + number * LINE_IN, words, fontsize=9, color=colour)

    def foot(self) -> None:
        """What everything on the page means."""
        self.text(
            0.15,
            self.height - FOOT_IN + 0.1,
            "Automatic contours, to be reviewed before use. Slices count from the most inferior, which is 1, "
            "as in slices=. Magenta: members disagree. Dashed: not in the structure set. Thin: other organs. "
            f"{PRODUCT} {own_version()}",
            fontsize=8,
            color=FAINT,
        )

    def organ(
        self,
        organ: Organ,
        result: CaseResult,
        left: float,
        top: float,
        colours: dict[str, tuple[float, float, float]],
        *,
        sent: bool,
    ) -> None:
        """An organ's lines, and its three panels where it was found."""
        assert result.series is not None
        self.text(left, top, "\u25a0", fontsize=12, color=colours[organ.name])
        self.text(left + 0.2, top, organ.name, fontsize=12, weight="bold")
        self.text(left + 2.0, top, str(organ.flag), fontsize=12, weight="bold", color=FLAG_COLOURS[organ.flag])
        self.text(left + 2.9, top + 0.02, dice_line(organ), fontsize=10)
        said = [*organ.reasons, *(f"note: {note}" for note in organ.notes)]
        lines = textwrap.wrap("; ".join(said), LINE_CHARACTERS)
        if len(lines) > REASON_LINES:
            lines = [*lines[: REASON_LINES - 1], lines[REASON_LINES - 1] + " \u2026"]
        self.text(left, top + 0.25, "\n".join(lines), fontsize=8.5, color=FAINT)
        ct, (entropy, level) = result.series.volume, entropy_of(organ, result)
        views, window = views_of(organ, entropy, ct), window_of(organ, ct)
        others = [one for one in result.organs if one.found and one.name != organ.name]
        for place, cut in enumerate((views.worst, views.middle, views.long)):
            axes = self.panel(left + place * (PANEL_IN + GAP_IN), top + HEAD_IN)
            show_pixels(axes, ct, cut, window)
            if entropy is not None:
                show_doubt(axes, entropy, ct, cut, level)
            for other in others:
                show_contour(axes, other, cut, ct, colours[other.name], 0.7, dashed=False)
            show_contour(axes, organ, cut, ct, colours[organ.name], 1.6, dashed=not sent)
            show_letters(axes, cut.axis)
            low, high = window
            self.text(
                left + place * (PANEL_IN + GAP_IN), top + HEAD_IN - 0.17, title(place, cut), fontsize=8.5, weight="bold"
            )
            words = f"W {high - low:.0f} L {(high + low) / 2:.0f}"
            mark(axes, 0.02, 0.02, words, va="bottom", color=FAINT, fontsize=7)
            if place == LONG:
                show_where(axes, cut, (views.worst, views.middle), ct)


def case_lines(result: CaseResult) -> list[tuple[str, str]]:
    """What the gates say of the images or of the whole case, each line with its colour."""
    if result.held:
        return [(f"HELD: {'; '.join(result.reasons)}", FLAG_COLOURS[Flag.REJECT])]
    said = [verdict.reasons for gate, verdict in result.verdicts if kind_of(gate) != "organs"]
    words = "; ".join(dict.fromkeys(reason for reasons in said for reason in reasons))
    return [(words, FLAG_COLOURS[Flag.REVIEW])] if words else []


def absent_lines(result: CaseResult) -> list[tuple[str, str]]:
    """The organs that were not found. They have no panels."""
    return [
        (f"{organ.name}: {organ.flag}, {'; '.join(organ.reasons)}", FLAG_COLOURS[organ.flag])
        for organ in result.organs
        if not organ.found
    ]


def title(place: int, cut: Cut) -> str:
    """Which plane it is. Axial ones are numbered as in `slices=`."""
    number = cut.index + 1
    if place == LONG:
        return f"{NAMES[cut.axis]}, lengthwise"
    return f"slice {number}: {'middle' if place else 'members disagree most'}"


def show_where(axes: Axes, cut: Cut, slices: Sequence[Cut], ct: Volume) -> None:
    """Lines with numbers on the lengthwise plane, where the axial slices lie."""
    edge = cut.centre_mm[1] - 0.38 * cut.side_mm
    for one in {one.index: one for one in slices}.values():
        z = (one.index + 0.5) * ct.spacing_mm[0]
        axes.axhline(z, color=INK, linewidth=0.7, linestyle=(0, (4, 4)), alpha=0.8)
        axes.text(edge, z, str(one.index + 1), va="bottom", color=INK, fontsize=7.5, path_effects=EDGED)


def shown_date(value: object) -> str:
    """A DICOM date as people write it, or a dash."""
    digits = str(value or "")
    return f"{digits[:4]}-{digits[4:6]}-{digits[6:8]}" if len(digits) == 8 and digits.isdigit() else "-"

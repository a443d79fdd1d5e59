"""MODEL_CARD.md: what a bundle is, where it comes from, how good it was measured to be, and where it ends."""

from collections.abc import Mapping

from rtseg_daemon.bundles import Bundle
from rtseg_training.sets.organs import weighted_mean

NOT_RECORDED = "Spacings, positions and scanners of the training CTs are not recorded in this bundle."

UNTESTED = (
    "Children, other positions than those named, resected or absent organs, large implants and strong dental artefacts "
    "were not tested apart."
)

HABITS = (
    "Contours follow the habits of those who drew the training cases. Examples are where an organ ends along the body, "
    "and how far a thin one is drawn."
)

CHOSEN_ON_VALIDATION = (
    "The validation cases also chose member weights, factors, temperature and thresholds. Where figures are "
    "cross-fitted, no case chose its own. The thresholds that are shipped were fitted on all of them."
)
"""For a bundle that was calibrated."""

PRESUMES = (
    "Predicted Dice presumes that the organ exists. Of an organ that was taken out, or filled with a flap, it says "
    "nothing, however high it is."
)

CORD = (
    "SpinalCord is the cord, not the spinal canal. A department that contours the canal gets a smaller organ, and "
    "reads its largest dose too low."
)

GUIDELINE = "No contouring guideline was enforced: what was drawn is what was learned."

NEVER_MEASURED = (
    "Never measured here: the effect on dose and plans, and the differences between observers on these cases. Neither "
    "were the time that a department saves, and results by age, sex, scanner or stage."
)


PURPOSE = {
    "evaluation": "For evaluation and local commissioning, not for treatment as it comes",
    "clinical": "For treatment planning only in a department that has commissioned it on its own cases",
    "research": "For research and comparison of methods, not for evaluation at a clinic, never for treatment",
}
"""By intended use: what the bundle is for, and what it is not for."""


def in_sentences(text: str) -> str:
    """A bundle's description, each part between semicolons a sentence."""
    return ". ".join(part[:1].upper() + part[1:] for part in text.split("; "))


def member_count(bundle: Bundle) -> str:
    """`1 member`, `6 members`."""
    return f"{len(bundle.members)} member{'' if len(bundle.members) == 1 else 's'}"


def member_lines(bundle: Bundle) -> list[str]:
    own = bundle.figures.get("members", {})
    lines = ["| member | intensity | alpha | DSC alone (network's grid) |", "|---|---|---|---|"]
    for member in bundle.members:
        alone = f"{own[member.name]:.3f}" if member.name in own else "-"
        alpha = "-" if member.alpha is None else f"{member.alpha:g}"
        lines.append(f"| {member.name} | {member.intensity} | {alpha} | {alone} |")
    if "ensemble" in own:
        lines.append(f"| all together | | | {own['ensemble']:.3f} |")
    return lines


def origin_lines(bundle: Bundle) -> list[str]:
    """What the bundle records of its making, as it stands there."""
    rows = (f"| {key} | {str(value).replace('|', '/')} |" for key, value in bundle.provenance.items())
    return ["| record | value |", "|---|---|", *rows]


def organ_lines(bundle: Bundle) -> list[str]:
    lines = [
        "| organ | cases | missed | DSC | 10th percentile | 95HD mm | ASSD mm | surface DSC | APL mm | RVE "
        "| acceptable from |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for organ in bundle.classes:
        f = bundle.figures.get(organ.name)
        if f is None:
            lines.append(f"| {organ.name} | 0 {'| - ' * 9}|")
            continue
        lines.append(
            f"| {organ.name} | {f['cases']:.0f} | {f['missed']:.0f} | {f['dice']:.3f} ± {f['dice_sd']:.3f} "
            f"| {f['dice_p10']:.3f} | {f.get('hd95_mm', float('nan')):.1f} | {f.get('assd_mm', float('nan')):.1f} "
            f"| {f['surface_dice']:.3f} | {f['added_path_mm']:.0f} | {f['volume_error']:.2f} | {organ.acceptable:.2f} |"
        )
    scores = {o.name: bundle.figures[o.name]["dice"] for o in bundle.classes if o.name in bundle.figures}
    if scores:
        mean = sum(scores.values()) / len(scores)
        weighted = weighted_mean(scores)
        extra = "" if weighted is None else f" Weighted by the challenge's importance it is {weighted:.3f}."
        lines += ["", f"Mean DSC {mean:.3f}.{extra}"]
    return lines


def calibration_lines(bundle: Bundle) -> list[str]:
    c = bundle.figures.get("calibration")
    if not c:
        return ["Not calibrated: organs carry no predicted Dice."]
    lines = [
        f"Predicted Dice over {c['organs']:.0f} organs ({c.get('missed', 0):.0f} missed ones left out): "
        f"mean absolute error {c['mean_absolute_error']:.3f}, "
        f"correlation {c['correlation']:.2f}, ECE {c['ece_dice']:.3f}.",
        f"90 % intervals cover {c['coverage']:.3f} (patient bootstrap 95 % interval {c['coverage_low']:.3f} to "
        f"{c['coverage_high']:.3f}), mean width {c['interval_width']:.2f}.",
        f"Bad organs (DSC below the organ's 10th percentile, {c['bad_organs']:.0f} of them): AUROC {c['auroc']:.3f}, "
        f"AURC {c['aurc']:.3f}"
        + (f". VVC alone: {c['auroc_vvc']:.3f} and {c['aurc_vvc']:.3f}." if "auroc_vvc" in c else "."),
        *flag_lines(bundle, c),
        f"Voxel ECE {c['ece_voxels_raw']:.3f}, {c['ece_voxels']:.3f} after temperature {c['temperature']:.2f}.",
    ]
    return [f"- {line}" for line in lines]


def flag_lines(bundle: Bundle, c: Mapping[str, float]) -> list[str]:
    """What the flags are worth, as the kind of calibration that the bundle has measures it."""
    if "unacceptable_organs" not in c:
        return [f"REVIEW thresholds catch {c['caught']:.2f} of them and flag {c['flagged']:.2f} of all organs."]
    lines = [
        f"Organs with a DSC below 0.5: AUROC {c['auroc_half']:.3f}. The 85 % of organs with the highest prediction "
        f"have a mean of 1 - DSC of {c['risk_at_85']:.3f}."
    ]
    if "auroc_pairwise_dice" in c:
        lines.append(
            f"Dice between members alone: AUROC {c['auroc_half_pairwise_dice']:.3f} below 0.5 and "
            f"{c['auroc_pairwise_dice']:.3f} below the 10th percentile, AURC {c['aurc_pairwise_dice']:.3f}, risk "
            f"{c['risk_at_85_pairwise_dice']:.3f}."
        )
    if "gain_aurc" in c:
        told = {"auroc_half": "AUROC below 0.5", "auroc": "below the 10th percentile", "aurc": "AURC",
                "risk_at_85": "risk"}  # fmt: skip
        parts = [
            f"{words} {c[f'gain_{key}']:+.3f} ({c[f'gain_{key}_low']:+.3f} to {c[f'gain_{key}_high']:+.3f})"
            for key, words in told.items()
        ]
        lines.append(f"The prediction is better than that by: {', '.join(parts)}. Intervals of 95 %, by patient.")
    return [
        *lines,
        f"REVIEW is said from a chance of {bundle.review_above:.0%} on that the DSC is below what is acceptable. That "
        f"flags {c['flagged']:.2f} of all organs, and {c['caught']:.2f} of the {c['unacceptable_organs']:.0f} "
        "below it.",
        f"Fitted on {c['organs']:.0f} organs of these cases, {c['copies']:.0f} of faulty copies and "
        f"{c['organs_beside']:.0f} of other members. {c['wrong_truth']:.0f} organs with a true volume below half or "
        "above twice the median were left out as wrong contours.",
    ]


def golden_lines(bundle: Bundle) -> list[str]:
    if not bundle.golden:
        return ["None recorded."]
    names = list(dict.fromkeys(organ for case in bundle.golden for organ in case.dice))
    if not names:
        return ["None: no phantom holds an organ of this bundle."]
    lines = [
        "The best Dice so far, on phantoms and on patients that a department keeps apart. A later bundle may not fall "
        "more than 0.02 below, unless it begins a new record.",
        "",
    ]
    lines += [f"| case | {' | '.join(names)} |", f"|---|{'---|' * len(names)}"]
    for case in bundle.golden:
        what = f"phantom {case.seed}, {case.matrix}" if case.file is None else case.file
        figures = (f"{case.dice[n]:.3f}" if n in case.dice else "-" for n in names)
        lines.append(f"| {what} | {' | '.join(figures)} |")
    lacking = [organ.name for organ in bundle.classes if organ.name not in names]
    return lines + (["", f"In no golden case: {', '.join(lacking)}."] if lacking else [])


def weighing(bundle: Bundle) -> str:
    """How the members' answers count, as a sentence, empty for a single member."""
    if len(bundle.members) == 1:
        return ""
    ranked = any(len(set(organ.weights)) > 1 for organ in bundle.classes)
    return f" Members are weighed {'by rank' if ranked else 'alike'}."


def served(bundle: Bundle) -> str:
    """Which CTs the daemon lets through, in words."""
    limits = bundle.limits
    (near, far), (fine, coarse) = limits.slice_spacing_mm, limits.pixel_spacing_mm
    return (
        f"Made for {', '.join(limits.positions)}, slices {near:g} to {far:g} mm apart, pixels of {fine:g} to "
        f"{coarse:g} mm and at least {limits.minimum_slices} slices. The daemon holds or flags a CT outside."
    )


def trained_on(bundle: Bundle) -> list[str]:
    """What the training CTs were, as the bundle records it."""
    keys = ("slice distances", "pixels", "slices", "positions", "manufacturers")
    found = {key: bundle.provenance.get(f"training {key}") for key in keys}
    said = [f"{key} {value}" for key, value in found.items() if value]
    known = [f"Training CTs: {'. '.join(one[:1].upper() + one[1:] for one in said)}."] if said else []
    return [*known, *bundle.known_limits] or [NOT_RECORDED]


def bare_organs(bundle: Bundle) -> list[str]:
    """That organs without a calibration are never OK, if there are any."""
    names = [organ.name for organ in bundle.classes if organ.calibration is None]
    return [f"No calibration, and REVIEW at best: {', '.join(names)}."] if names else []


def several_parts(bundle: Bundle) -> list[str]:
    """Which organs keep all their parts, if any do."""
    names = [organ.name for organ in bundle.classes if not organ.largest_component]
    return [f"All parts are kept, also stray ones: {', '.join(names)}."] if names else []


def limits_of(bundle: Bundle) -> list[str]:
    """Where the bundle ends, as sentences, from what it records of itself."""
    said = [served(bundle), *trained_on(bundle), *bare_organs(bundle), *several_parts(bundle)]
    said += [UNTESTED, HABITS, GUIDELINE]
    if any(organ.name == "SpinalCord" for organ in bundle.classes):
        said.append(CORD)
    if bundle.figures.get("calibration"):
        said += [CHOSEN_ON_VALIDATION, PRESUMES]
    return [*said, NEVER_MEASURED]


def minimum_lines(bundle: Bundle) -> list[str]:
    """What a person demanded of it before it took its place."""
    least = bundle.minimum
    if least is None:
        return ["Nobody set a minimum."]
    organs = ", ".join(f"{organ} {figure:g}" for organ, figure in least.dice.items())
    what = "Demanded and reached" if bundle.figures else "Demanded, and not measured yet"
    return [f"{what}: DSC {organs}. AUROC {least.auroc:g}, {least.caught:g} of the bad organs caught."]


def model_card(bundle: Bundle) -> str:
    """The whole card as Markdown, from nothing but the bundle itself."""
    shape = f"{' x '.join(map(str, bundle.window))}{' or the whole volume' if bundle.window_step else ''}"
    spacing = " x ".join(f"{s:g}" for s in bundle.spacing_mm)
    parts = [
        [f"# {bundle.name} {bundle.version}", "", in_sentences(bundle.description)],
        [
            f"Intended use: {bundle.intended_use}. Not a medical device. {PURPOSE[bundle.intended_use]}, and a person "
            "reviews every contour."
        ],
        [
            "## What it is", "",
            f"{member_count(bundle)} of the family `{bundle.family}` ({bundle.arguments}), half-precision "
            f"weights. Windows of {shape}, in voxels of {spacing} mm (z, y, x).{weighing(bundle)}",
            "", *member_lines(bundle),
        ],
        ["## Where it comes from", "", *origin_lines(bundle)],
        [
            "## How good it is", "",
            "Validation cases, never trained on, each on its own grid through the daemon's pipeline. Member weights "
            "are cross-fitted. DSC is mean ± standard deviation, and an organ that was missed counts 0. RVE is the "
            "mean absolute relative volume error. Surface DSC is at 3 mm.",
            "", *organ_lines(bundle), "", *minimum_lines(bundle),
        ],
        ["## What its uncertainty is worth", "", "Cross-fitted on the same cases.", "", *calibration_lines(bundle)],
        [
            "## Golden cases", "", *golden_lines(bundle),
        ],
        ["## Limits", "", *(f"- {limit}" for limit in limits_of(bundle))],
    ]  # fmt: skip
    return "\n\n".join("\n".join(part) for part in parts) + "\n"

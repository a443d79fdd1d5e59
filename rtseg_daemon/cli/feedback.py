"""`rtseg-daemon feedback ...`: structure sets that came back from planning systems, and what their names mean."""

from pathlib import Path
from typing import Annotated

import typer

from rtseg_daemon.cli.common import (
    AsJson,
    ConfigFile,
    open_existing,
    print_done,
    print_facts,
    print_json,
    print_table,
    who,
)
from rtseg_daemon.ledger import returned, returned_views
from rtseg_daemon.ledger.engine import reading
from rtseg_daemon.ledger.states import ReturnedState
from rtseg_daemon.upkeep import deciding

app = typer.Typer(
    help="Structure sets that came back.\n\nExample: rtseg-daemon feedback list --state NAMES",
    no_args_is_help=True,
)

State = Annotated[ReturnedState | None, typer.Option("--state", help="Only sets in this state.")]


@app.command("list")
def list_returned(config: ConfigFile = None, state: State = None, as_json: AsJson = False) -> None:
    """All structure sets that came back, newest first.

    Example: rtseg-daemon feedback list --state APART
    """
    ledger = open_existing(config)
    with reading(ledger.engine) as session:
        rows = returned.all_returned(session, state)
        shapes = [returned_views.returned_shape(row, ledger.shown) for row in rows]
    if as_json:
        return print_json(shapes)
    columns = ("id", "state", "approval", "patient_id", "job", "rois", "measured", "counting", "received_at", "reasons")
    rows_shown = [[shape[column] for column in columns[:-1]] + ["; ".join(shape["reasons"])] for shape in shapes]
    return print_table("structure sets that came back", columns, rows_shown)


@app.command()
def show(
    set_id: Annotated[int, typer.Argument(help="Number of the structure set.", show_default=False)],
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """One structure set with its ROIs, what was changed of ours, and what happened to it.

    Example: rtseg-daemon feedback show 17
    """
    ledger = open_existing(config)
    with reading(ledger.engine) as session:
        shape = returned_views.returned_detail(session, returned.find_returned(session, set_id), ledger.shown)
    if as_json:
        return print_json(shape)
    print_facts({key: value for key, value in shape.items() if key not in ("contours", "events")})
    figures = ("dsc", "surface_dsc_2mm", "added_path_mm", "hd95_mm", "mean_signed_distance_mm", "untouched")
    columns = ("name", "organ", "named_by", "counts", *figures, "reasons")
    rows = []
    for roi in shape["contours"]:
        measured = roi["difference"] or {}
        said = [roi["name"], roi["organ"], roi["named_by"], "yes" if roi["counts"] else "no"]
        rows.append([*said, *(rounded(measured.get(figure)) for figure in figures), "; ".join(roi["reasons"])])
    print_table("contours", columns, rows)
    heads = ("at", "what", "from", "to", "who", "detail")
    return print_table("events", heads, [[event[head] for head in heads] for event in shape["events"]])


def rounded(value: float | None) -> str | None:
    return None if value is None else f"{value:.3g}"


@app.command("map")
def explain_name(
    name: Annotated[str | None, typer.Argument(help="The ROI's name as it came.", show_default=False)] = None,
    organ: Annotated[str | None, typer.Argument(help="TG-263 name of the organ.", show_default=False)] = None,
    none: Annotated[bool, typer.Option("--none", help="The name is none of our organs.")] = False,
    why: Annotated[str, typer.Option("--why", help="Why, for those who come after.")] = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Say what a name of an ROI means, for the whole site, or list what was said.

    Sets that have the name are measured anew. Names that wait stand in `feedback
    list --state NAMES`.

    Example: rtseg-daemon feedback map "Ohrspeichel li" Parotid_L
    """
    # numpy, which the other commands do not need
    from rtseg_daemon.upkeep.explaining import explain_name

    if name is None:
        return list_names(config, as_json)
    if (organ is None) != none:
        raise typer.BadParameter("say either the organ or --none")
    ledger = open_existing(config)
    shape = explain_name(deciding.Desk(ledger.engine, ledger.config, who()), name, organ, why)
    return print_done(shape, f"{name!r} is {organ or 'none of our organs'}", as_json)


@app.command()
def export(
    out: Annotated[Path, typer.Option(help="Folder of the data set.", show_default=False)],
    config: ConfigFile = None,
    only: Annotated[Path | None, typer.Option(help="List of consenting PatientIDs; default: feedback.only.")] = None,
    key: Annotated[Path | None, typer.Option(help="The key file; default: patients.key beside OUT.")] = None,
    dicom: Annotated[Path | None, typer.Option(help="A folder for de-identified DICOM files of new cases.")] = None,
    as_json: AsJson = False,
) -> None:
    """Approved contours that a person edited, as a data set for `rtseg-train`.

    Said again, it brings the set up to date. No name, date or identifier of a
    patient is in it. Which case is whose stands in the key file: keep it apart.

    Example: rtseg-daemon feedback export --out sets/clinic
    """
    # httpx, which the other commands do not need
    from rtseg_daemon.cluster.place import files_of_command

    # numpy and pydicom
    from rtseg_daemon.feedback import export as exporting

    ledger = open_existing(config)
    opened = exporting.open_key(key or out.resolve().parent / exporting.KEY_NAME)
    with files_of_command(ledger.config, ledger.engine) as files:
        desk = exporting.Desk(ledger.engine, ledger.config, files)
        done = exporting.export(desk, out, opened, only or ledger.config.feedback.only, who(), dicom)
    for line in done.left_out:
        typer.echo(line, err=True)
    shape = {"out": str(out), "key": str(opened.path)} | vars(done)
    cases = len(done.added) + len(done.kept)
    print_done(
        shape,
        f"{out}: {cases} cases, {len(done.added)} of them new or newer; {len(done.removed)} removed; "
        f"{len(done.left_out)} left out; {done.untouched} contours untouched",
        as_json,
    )


def list_names(config: ConfigFile, as_json: bool) -> None:
    """What people said of names."""
    ledger = open_existing(config)
    with reading(ledger.engine) as session:
        shapes = returned_views.names_said(session)
    if as_json:
        return print_json(shapes)
    columns = ("name", "organ", "who", "why", "at")
    return print_table(
        "names that were explained", columns, [[shape[column] for column in columns] for shape in shapes]
    )

"""`rtseg-daemon convert`: masks to RT Structure Set and back."""

from pathlib import Path
from typing import Annotated

import typer

from rtseg_daemon.errors import RtsegError
from rtseg_daemon.work.convert import SeriesChoiceError, choose_series, masks_to_rtstruct, rtstruct_to_masks


def convert(
    ct_dir: Annotated[
        Path, typer.Argument(metavar="CT_DIR", exists=True, file_okay=False, help="Folder of the CT series.")
    ],
    out: Annotated[Path, typer.Option(help="With --masks the RTSTRUCT to write, with --rtstruct the masks' folder.")],
    masks: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="Folder of NIfTI or NRRD masks, one per ROI.")
    ] = None,
    rtstruct: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="RT Structure Set to read.")
    ] = None,
    series: Annotated[str | None, typer.Option(help="SeriesInstanceUID, where the folder holds several CTs.")] = None,
) -> None:
    """Turn masks into an RT Structure Set of a CT, or an RT Structure Set into masks on the CT's grid.

    Example: rtseg-daemon convert CT_DIR --masks MASKS_DIR --out rs.dcm

    Example: rtseg-daemon convert CT_DIR --rtstruct rs.dcm --out MASKS_DIR
    """
    if (masks is None) == (rtstruct is None):
        typer.echo("give either --masks DIR or --rtstruct FILE", err=True)
        raise typer.Exit(2)
    try:
        files = choose_series(ct_dir, series)
        if masks is not None:
            result = masks_to_rtstruct(files, masks, out)
        else:
            assert rtstruct is not None
            result = rtstruct_to_masks(files, rtstruct, out)
    except SeriesChoiceError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from error
    except (RtsegError, OSError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error
    for note in result.notes:
        typer.echo(note, err=True)
    for path in result.written:
        typer.echo(str(path))

"""`rtseg-daemon echo, fetch`: what asks another machine."""

import sys
import time
from typing import Annotated, Any

import typer
from rich.console import Console

from rtseg_daemon.cli.common import AsJson, ConfigFile, out, print_json, print_table, require_config
from rtseg_daemon.config.file import Config
from rtseg_daemon.config.sections import QueryPeer
from rtseg_daemon.dicom import query
from rtseg_daemon.dicom.association import Local, Peer
from rtseg_daemon.dicom.probe import Echoed, asked
from rtseg_daemon.dicom.query import RemoteSeries
from rtseg_daemon.dicom.relay import relay
from rtseg_daemon.dicom.retrieve import Retrieved, move
from rtseg_daemon.dicom.statuses import MOVE_DESTINATION_UNKNOWN, told
from rtseg_daemon.errors import DeliveryError


def echo(
    destination: Annotated[str, typer.Argument(help="Name of a destination or query peer.", show_default=False)],
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """C-ECHO to a destination or query peer: what TLS was agreed on, or what is wrong and what to do.

    Exit status 0 if it answers success, 1 if there is no connection, no
    association or another answer, 2 if the configuration does not name it.

    Example: rtseg-daemon echo eclipse
    """
    settings = require_config(config)
    known: list[Peer] = [*settings.query, *settings.destinations]
    peers = {peer.name: peer for peer in known}
    if destination not in peers:
        raise typer.BadParameter(f"no destination {destination!r}; there: {', '.join(peers) or 'none'}")
    began = time.perf_counter()
    found = asked(Local(settings.dicom.ae_title, settings.dicom.tls), peers[destination])
    seconds = round(time.perf_counter() - began, 3)
    if as_json:
        print_json({"destination": destination, "seconds": seconds} | shape_of_echo(found))
    elif found.trouble is None:
        out.print(f"{destination} answered {found.status} in {seconds} s; {found.tls}", highlight=False, markup=False)
    else:
        peer = peers[destination]
        print(f"{destination} at {peer.host}:{peer.port}: {found.trouble.what}", file=sys.stderr)
        print(f"What to do: {found.trouble.remedy}.", file=sys.stderr)
    raise typer.Exit(0 if found.trouble is None else 1)


def shape_of_echo(found: Echoed) -> dict[str, Any]:
    """What a C-ECHO showed, for `echo --json`."""
    trouble = found.trouble
    return {
        "status": found.status,
        "tls": found.tls,
        "ok": trouble is None,
        "problem": trouble.kind if trouble else None,
        "message": trouble.what if trouble else None,
        "what_to_do": trouble.remedy if trouble else None,
    }


def fetch(
    study: Annotated[str, typer.Option(help="StudyInstanceUID.")] = "",
    patient: Annotated[str, typer.Option(help="PatientID; all CT series of all studies.")] = "",
    peer: Annotated[str | None, typer.Option("--from", help="Name in `query`; default: the first.")] = None,
    by_get: Annotated[bool, typer.Option("--get", help="By C-GET: the PACS need not know our address.")] = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Ask a configured PACS to send the CT series of a study or patient to the running daemon.

    By C-MOVE the PACS must know our AE title and address. With --get our own AE
    title must be in dicom.allowed_callers, if there is that list, with the
    address dicom.host (127.0.0.1 where that is 0.0.0.0).

    Example: rtseg-daemon fetch --patient 4711
    """
    settings = require_config(config)
    if bool(study) == bool(patient):
        raise typer.BadParameter("say either --study UID or --patient ID")
    pacs = choose_peer(settings, peer)
    shapes = retrieve(settings, pacs, study, patient, by_get)
    if as_json:
        print_json(shapes)
    else:
        columns = ("series_instance_uid", "description", "images", "completed", "failed", "status", "reason")
        print_table(f"fetched from {pacs.name}", columns, [[shape[column] for column in columns] for shape in shapes])
    if not shapes:
        print(f"rtseg-daemon: {pacs.name} has no CT series of this {'study' if study else 'patient'}", file=sys.stderr)
    raise typer.Exit(0 if shapes and all(shape["ok"] for shape in shapes) else 1)


def choose_peer(settings: Config, name: str | None) -> QueryPeer:
    """The query peer of this name, or the first."""
    peers = {peer.name: peer for peer in settings.query}
    if not peers:
        raise typer.BadParameter("the configuration has no query peers; add one under `query`")
    if name is not None and name not in peers:
        raise typer.BadParameter(f"no query peer {name!r}; there: {', '.join(peers)}", param_hint="--from")
    return peers[name] if name is not None else settings.query[0]


def retrieve(settings: Config, pacs: QueryPeer, study: str, patient: str, by_get: bool) -> list[dict[str, Any]]:
    """Find the series and have each sent. Raises DeliveryError if the PACS cannot be asked."""
    local = Local(settings.dicom.ae_title, settings.dicom.tls)
    shapes = []
    with Console(stderr=True).status("asking") as progress:
        found = query.ct_series(local, pacs, study_uid=study, patient_id=patient)
        for number, series in enumerate(found, 1):
            progress.update(f"series {number} of {len(found)}")
            try:
                done = relay(settings, pacs, series) if by_get else move(local, pacs, series, local.ae_title)
            except DeliveryError as error:
                shapes.append(shape(series, None, str(error)))
            else:
                shapes.append(shape(series, done, reason_of(done, local.ae_title)))
    return shapes


def reason_of(done: Retrieved, our_title: str) -> str | None:
    """Why a retrieval did not bring everything, as the peer tells it, or None if it did."""
    if done.ok:
        return None
    why = told(done.status, done.comment)
    if done.status == MOVE_DESTINATION_UNKNOWN:
        why += f"; enter {our_title} with this machine's address and port there, or use --get"
    return why


def shape(series: RemoteSeries, done: Retrieved | None, reason: str | None) -> dict[str, Any]:
    """One series as `fetch --json` shows it."""
    return {
        "study_instance_uid": series.study_uid,
        "series_instance_uid": series.series_uid,
        "description": series.description,
        "images": series.count,
        "completed": done.completed + done.warnings if done else 0,
        "failed": done.failed if done else None,
        "status": f"0x{done.status:04X}" if done else None,
        "reason": reason,
        "ok": bool(done and done.ok),
    }

"""`rtseg-daemon jobs ...`: see what was done, and decide about what waits for a person."""

from dataclasses import replace
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
from rtseg_daemon.ledger import views
from rtseg_daemon.ledger.engine import reading
from rtseg_daemon.ledger.history import job_history
from rtseg_daemon.ledger.states import JobState
from rtseg_daemon.upkeep import deciding

app = typer.Typer(
    help="Jobs: one series, one structure set, one run each.\n\nExample: rtseg-daemon jobs list --state HELD",
    no_args_is_help=True,
)

JobId = Annotated[int, typer.Argument(help="Number of the job.", show_default=False)]
Shadow = Annotated[bool, typer.Option("--shadow", help="Shadows' jobs, and no others.")]
Why = Annotated[str, typer.Option(help="The reason, for the events.")]
State = Annotated[JobState | None, typer.Option("--state", help="Only jobs in this state.")]


@app.command("list")
def list_jobs(config: ConfigFile = None, state: State = None, shadow: Shadow = False, as_json: AsJson = False) -> None:
    """All jobs, newest first, without those of shadows.

    Example: rtseg-daemon jobs list --state HELD
    """
    ledger = open_existing(config)
    with reading(ledger.engine) as session:
        shapes = [views.job_shape(job, ledger.shown) for job in views.all_jobs(session, state, shadow=shadow)]
    if as_json:
        return print_json(shapes)
    columns = ("id", "state", "patient_id", "bundle", "route", "attempts", "updated_at", "error")
    return print_table("jobs", columns, [[shape[column] for column in columns] for shape in shapes])


@app.command()
def show(job_id: JobId, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """One job with its organs, gates and deliveries.

    Example: rtseg-daemon jobs show 17
    """
    ledger = open_existing(config)
    with reading(ledger.engine) as session:
        shape = views.job_detail(views.find_job(session, job_id), ledger.shown)
    if as_json:
        return print_json(shape)
    nested = ("verdicts", "rois", "deliveries", "flags", "seconds", "lease")
    facts = {key: value for key, value in shape.items() if key not in nested}
    if lease := shape["lease"]:
        facts |= {"at work": lease["owner"], "leased until": lease["until"]}
    print_facts(facts)
    rows = [[roi["name"], roi["flag"], f"{roi['volume_ml']:.1f}", roi["comment"]] for roi in shape["rois"]]
    print_table("organs", ("organ", "flag", "ml", "comment"), rows)
    gates = [[gate["gate"], gate["verdict"], "; ".join(gate["reasons"])] for gate in shape["verdicts"]]
    print_table("gates", ("gate", "verdict", "reasons"), gates)
    columns = ("id", "destination", "state", "attempts", "next_attempt_at", "last_status", "last_comment")
    return print_table("deliveries", columns, [[d[column] for column in columns] for d in shape["deliveries"]])


@app.command()
def events(job_id: JobId, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """What happened to a job and its deliveries, in order.

    Example: rtseg-daemon jobs events 17
    """
    ledger = open_existing(config)
    with reading(ledger.engine) as session:
        shapes = job_history(session, job_id)
    if as_json:
        return print_json(shapes)
    columns = ("at", "what", "from", "to", "destination", "who", "detail")
    for shape in shapes:
        shape["detail"] = {key: value for key, value in shape["detail"].items() if key != "destination"}
    return print_table(f"events of job {job_id}", columns, [[shape[column] for column in columns] for shape in shapes])


@app.command()
def rerun(
    job_id: JobId,
    config: ConfigFile = None,
    bundle: Annotated[str | None, typer.Option(help="Another bundle, or several: han-oar+han-gtv.")] = None,
    no_send: Annotated[bool, typer.Option("--no-send", help="Keep the result here.")] = False,
    why: Why = "",
    as_json: AsJson = False,
) -> None:
    """A new job for the same series. The old one stays as it is.

    Example: rtseg-daemon jobs rerun 17 --bundle han-gtv --no-send
    """
    tell(deciding.rerun(desk(config), job_id, why, bundle=bundle, no_send=no_send), as_json)


@app.command()
def retry(job_id: JobId, config: ConfigFile = None, why: Why = "", as_json: AsJson = False) -> None:
    """Take a FAILED job up again: only its delivery, if its structure set is stored.

    Example: rtseg-daemon jobs retry 17
    """
    tell(deciding.retry(desk(config), job_id, why), as_json)


@app.command()
def cancel(
    job_id: JobId,
    config: ConfigFile = None,
    why: Why = "",
    as_json: AsJson = False,
) -> None:
    """End a job that is not delivered yet.

    Example: rtseg-daemon jobs cancel 17 --why "sent twice"
    """
    tell(deciding.cancel(desk(config), job_id, why), as_json)


@app.command()
def release(
    job_id: JobId,
    why: Annotated[str, typer.Option(help="Why it may go on; stands in its events.", show_default=False)],
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Let a HELD job go on. You answer for it with your name and reason.

    It covers only what is held now. What is found later holds the job again.
    Where its structure set is stored, that is sent, with the note on every
    ROI that a person released it.

    Example: rtseg-daemon jobs release 17 --why "feet first on purpose; sides checked"
    """
    if not why.strip():
        raise typer.BadParameter("say why", param_hint="--why")
    # httpx, which the other commands do not need
    from rtseg_daemon.cluster.place import files_of_command

    here = desk(config)
    with files_of_command(here.config, here.engine) as files:
        tell(deciding.release(replace(here, other_files=files), job_id, why), as_json)


@app.command()
def review(job_id: JobId, config: ConfigFile = None, why: Why = "", as_json: AsJson = False) -> None:
    """Note that you have looked at a result with rejected organs. It leaves the worklist.

    Example: rtseg-daemon jobs review 17 --why "drawn by hand"
    """
    tell(deciding.review(desk(config), job_id, why), as_json)


def desk(config: Path | None) -> deciding.Desk:
    """Where this command decides, as the account that gives it."""
    ledger = open_existing(config)
    return deciding.Desk(ledger.engine, ledger.config, who())


def tell(shape: views.JsonObject, as_json: bool) -> None:
    """Say how the job stands now."""
    print_done(shape, f"job {shape['id']} is {shape['state']}", as_json)

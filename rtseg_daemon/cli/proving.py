"""What a version must have shown on live cases before `models activate` lets it serve."""

from pathlib import Path

from sqlalchemy import Engine

from rtseg_daemon.bundles import Bundle
from rtseg_daemon.config.file import Config
from rtseg_daemon.errors import BundleError
from rtseg_daemon.ledger.engine import open_ledger, reading
from rtseg_daemon.ledger.migrate import require_current
from rtseg_daemon.ledger.sqlite_file import database_file
from rtseg_daemon.ledger.views import JsonObject
from rtseg_daemon.upkeep.live import is_live
from rtseg_daemon.upkeep.promotion import objections, summary


def proven(candidate: Bundle, serving: Bundle | None, config: Config) -> str:
    """What its shadow cases said, for the record. Raises BundleError where they forbid that the candidate serves.

    They are asked for where the version that serves has contoured live cases, else nothing is said. Raises LedgerError
    where there is a ledger that cannot be read.
    """
    file = database_file(config.database_url)
    if serving is None or (file is not None and not file.is_file()):
        return ""
    engine = open_ledger(config.database_url, existing=True)
    try:
        require_current(engine)
        return judged(engine, candidate, serving, config)
    finally:
        engine.dispose()


def judged(engine: Engine, candidate: Bundle, serving: Bundle, config: Config) -> str:
    """The same, with the ledger open."""
    with reading(engine) as session:
        if not is_live(session, serving):
            return ""
    shape = comparison_of(engine, config, serving, candidate)
    if reasons := list(objections(shape, config.models.promotion)):
        raise BundleError(
            f"{candidate.name} {candidate.version} may not serve: {'; '.join(reasons)}. `rtseg-daemon models compare "
            f"{serving.name} {candidate.name}@{candidate.version}` shows the figures"
        )
    return summary(shape)


def comparison_of(
    engine: Engine, config: Config, a: Bundle, b: Bundle, since: float = 0.0, pictures: Path | None = None
) -> JsonObject:
    """`upkeep.comparing.comparison`, once all that is due is measured. `pictures`: a folder for them."""
    # numpy, scipy, matplotlib and httpx: rollbacks and lists of models need none
    from rtseg_daemon.upkeep.measured_comparison import measured_comparison

    return measured_comparison(engine, config, a, b, since, pictures)

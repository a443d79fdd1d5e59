"""What must be true before any child starts: intact bundles, a free port, a ledger of this version's schema."""

import difflib
import os
import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

from sqlalchemy import Engine

from rtseg_daemon.anatomy.called import likely, meaning_of
from rtseg_daemon.anatomy.sides import twin_of
from rtseg_daemon.bundles import Bundle, at_site, bundle_names, load_bundle, models_of, research_fault
from rtseg_daemon.cluster.ray_line import require_ray
from rtseg_daemon.config.file import Config
from rtseg_daemon.config.values import without_version
from rtseg_daemon.dicom.tls import server_context
from rtseg_daemon.errors import BundleError, ClusterError, ConfigError, LedgerError, StorageError
from rtseg_daemon.ledger import hosts
from rtseg_daemon.ledger.engine import open_ledger, writing
from rtseg_daemon.ledger.migrate import current_revision, needs_upgrade, upgrade
from rtseg_daemon.ledger.server import require_fit
from rtseg_daemon.ledger.sqlite_file import database_file
from rtseg_daemon.storage import Layout, identity_of
from rtseg_daemon.upkeep.backup import back_up


def routed_bundles(config: Config) -> Iterator[Bundle]:
    """Every bundle that a route names, read and verified.

    Raises ConfigError naming the route whose bundle is not there or which may not use one for research, BundleError
    naming the file that is altered or wrong.
    """
    models = models_of(config)
    for route in config.routes:
        for name in route.everything:
            if without_version(name) not in bundle_names(models):
                known = ", ".join(bundle_names(models)) or "none"
                raise ConfigError(f"route {route.name!r}: no bundle {name!r} in {models} (there: {known})")
            bundle = at_site(load_bundle(models, name), config)
            if fault := research_fault(bundle, route):
                raise ConfigError(f"{fault}; say so in the route to use the bundle all the same")
            yield bundle


def check_shadows(config: Config) -> None:
    """Read and verify every candidate that a route has in its shadow. Raises ConfigError naming the route.

    A bundle for research may be one: nothing of it leaves the machine.
    """
    for route in config.routes:
        for name in route.shadow:
            try:
                at_site(load_bundle(models_of(config), name), config)
            except BundleError as error:
                raise ConfigError(f"route {route.name!r}, shadow {name}: {error}") from error


def uncalibrated(bundles: Iterable[Bundle]) -> Iterator[str]:
    """A sentence for each bundle with organs whose Dice nobody can predict: none of those is ever OK."""
    for bundle in bundles:
        bare = [organ.name for organ in bundle.classes if organ.calibration is None]
        if bare:
            yield (
                f"bundle {bundle.name} {bundle.version} has no calibration for {', '.join(bare)}: these are REVIEW at "
                "best; calibrate it on cases of your own with `rtseg-train calibrate`"
            )


def check_directory(config: Config) -> None:
    """Raise ConfigError where storage.directory is a file, or lies below one."""
    folder = config.storage.directory
    for path in (folder, *folder.parents):
        if path.exists() and not path.is_dir():
            raise ConfigError(f"storage.directory: {path} is a file; name a folder, or one that can be made")


def check_certificates(config: Config) -> None:
    """Raise ConfigError where a certificate, key or CA is not usable, so that the listener could not start."""
    if config.dicom.tls is not None:
        server_context(config.dicom.tls)


def check_cluster(config: Config) -> None:
    """Raise ConfigError where there are to be cards in Ray, and Ray is not installed or its token cannot be read."""
    if config.compute.cluster is None:
        return
    try:
        require_ray()
    except ClusterError as error:
        raise ConfigError(f"compute.cluster: {error}") from error
    token = config.compute.cluster_token
    if token is not None and not os.access(token, os.R_OK):
        raise ConfigError(f"compute.cluster_token: {token} cannot be read; give it to this user, for it alone (0600)")


def unknown_organs(config: Config, bundles: Sequence[Bundle]) -> Iterator[str]:
    """A sentence for each name under a destination's `only`, `roi_names` or `colours` that no routed bundle has.

    A misspelt organ under `only` would be left out of every structure set.
    """
    organs = sorted({organ.name for bundle in bundles for organ in bundle.classes})
    for destination in config.destinations:
        for name in sorted({*destination.only, *destination.roi_names, *destination.colours}):
            if name.split("^")[0] not in organs:
                near = " or ".join(probably_meant(name, organs))
                meant = f"; did you mean {near}?" if near else ""
                yield f"destination {destination.name} names {name}, which no routed bundle contours{meant}"


def probably_meant(name: str, organs: Sequence[str]) -> list[str]:
    """The organs that `name` may stand for, never one of the other side: both where it tells no side."""
    sides = meaning_of(name).sides
    near = likely(name, organs) or difflib.get_close_matches(name, organs, n=1, cutoff=0.6)
    pairs = {one for organ in near for one in (organ, twin_of(organ)) if one in organs}
    return sorted(one for one in pairs if not sides or sides == meaning_of(one).sides)


def wait_for_port(host: str, port: int, wait_seconds: float = 10.0) -> None:
    """Wait until a listener can be opened there. Raises StorageError naming the port after `wait_seconds`."""
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            with socket.create_server((host, port), family=family):
                return
        except OSError as error:
            if time.monotonic() >= deadline:
                raise StorageError(
                    f"cannot listen on {host}:{port}: {error.strerror}; is another daemon running?"
                ) from error
            time.sleep(0.2)


def prepare_ledger(config: Config, layout: Layout) -> Engine:
    """Open the ledger and bring it to this version's schema, after a backup if it holds anything.

    The storage lock must be held. Raises LedgerError for a schema newer than this version, for a database that cannot
    hold a ledger, and where there is no ledger though there are images of one.
    """
    file = database_file(config.database_url)
    if file is not None and not file.exists():
        refuse_to_forget(layout, str(file))
    engine = open_ledger(config.database_url)
    try:
        prepare(engine, config, layout, file)
    except Exception:
        engine.dispose()
        raise
    return engine


def prepare(engine: Engine, config: Config, layout: Layout, file: Path | None) -> None:
    """The same for a ledger that is open, in `file` or a server. Raises as `prepare_ledger`."""
    require_fit(engine)
    if current_revision(engine) is None:
        refuse_to_forget(layout, str(engine.url))
    if needs_upgrade(engine):
        if file is not None and current_revision(engine) is not None:
            back_up(file, layout.backup, label="before-migration")
        upgrade(engine)
    register_host(engine, config, layout)


def register_host(engine: Engine, config: Config, layout: Layout) -> None:
    """Say to the other daemons of a ledger in PostgreSQL who this is. A file is guarded by the storage lock.

    Raises LedgerError where another one works under this name, or could not get this one's files.
    """
    if engine.dialect.name == "postgresql":
        address = address_of(config)
        with writing(engine) as session:
            hosts.register(
                session,
                config.host_name,
                storage=identity_of(layout),
                version=version("rtseg-daemon"),
                address=address,
                holds=lambda path: (layout.directory / path).is_file(),
            )


def address_of(config: Config) -> str:
    """Where other hosts get this one's files, empty where they cannot."""
    if config.storage.shared:
        return hosts.SHARED
    return config.cluster.shown_address if config.cluster.tls is not None else ""


def refuse_to_forget(layout: Layout, ledger: str) -> None:
    """Raise LedgerError if the storage holds images: with a new ledger the daemon would know of none of them."""
    if any(layout.series.iterdir()):
        raise LedgerError(
            f"there is no ledger at {ledger}, but {layout.series} holds images: restore a backup with `rtseg-daemon "
            'restore FILE` (docs/operation.md, "Restoring the ledger"), or move series/ and results/ away to begin anew'
        )

"""The configuration file: YAML in, one frozen object out. Every mistake is named with its key and its line."""

import difflib
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import get_args
from urllib.parse import quote

import yaml
from pydantic import BaseModel, Field, ValidationError
from pydantic_core import ErrorDetails

from rtseg_daemon.config.cluster import Cluster
from rtseg_daemon.config.contradictions import (
    foreign_modalities,
    hidden_routes,
    own_addresses,
    too_short_kept,
    unusable_cluster,
)
from rtseg_daemon.config.renames import wrong_names
from rtseg_daemon.config.sections import (
    Alarms,
    Audit,
    BundleWishes,
    Compute,
    Database,
    DeliverySection,
    DestinationPeer,
    Dicom,
    Feedback,
    Jobs,
    Logging,
    Models,
    QueryPeer,
    Route,
    Section,
    SeriesSection,
    Storage,
)
from rtseg_daemon.config.web import Web
from rtseg_daemon.errors import ConfigError

Loc = tuple[str | int, ...]

DISGUISED = re.compile(r"[-+]?(0[0-7_]+|[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?)")
"""Octal or counted in sixties, as YAML 1.1 reads plain scalars."""


class Config(Section):
    """All of it. Each section has a working default, and nothing is segmented unless a route says so."""

    dicom: Dicom = Dicom()
    storage: Storage = Storage()
    database: Database = Database()
    series: SeriesSection = SeriesSection()
    routes: tuple[Route, ...] = ()
    destinations: tuple[DestinationPeer, ...] = ()
    query: tuple[QueryPeer, ...] = ()
    models: Models = Models()
    bundles: dict[str, BundleWishes] = Field(default_factory=dict)
    compute: Compute = Compute()
    jobs: Jobs = Jobs()
    cluster: Cluster = Cluster()
    delivery: DeliverySection = DeliverySection()
    web: Web = Web()
    feedback: Feedback = Feedback()
    alarms: Alarms = Alarms()
    logging: Logging = Logging()
    audit: Audit = Audit()

    @property
    def database_url(self) -> str:
        """The ledger's URL, the default filled in. `?`, `#` and `%` in a path would mean something in a URL."""
        return self.database.url or f"sqlite:///{quote(str(self.storage.directory.absolute() / 'rtseg.db'))}"

    @property
    def host_name(self) -> str:
        """What this daemon calls itself in the ledger."""
        return self.database.host_name or socket.gethostname()

    @property
    def own_host(self) -> str | None:
        """Whose jobs and processes are this daemon's own. None where the ledger is: a file on this machine."""
        return None if self.database_url.startswith("sqlite") else self.host_name

    @property
    def files_host(self) -> str:
        """Whose the files are that this daemon receives and makes. Empty where it works alone."""
        return self.host_name if self.cluster.tls is not None or self.storage.shared else ""

    @property
    def own_folder(self) -> Path:
        """What this daemon alone writes to, also in a storage that several share."""
        return self.storage.directory / "hosts" / self.host_name if self.storage.shared else self.storage.directory

    @property
    def destination_names(self) -> list[str]:
        """In the order of the file."""
        return [destination.name for destination in self.destinations]

    def route_named(self, name: str) -> Route | None:
        """The route as it is configured now, or None if it is gone."""
        return next((route for route in self.routes if route.name == name), None)

    @property
    def takes_feedback(self) -> bool:
        """Whether structure sets may come back at all."""
        return self.feedback.poll or any(caller.feedback for caller in self.dicom.allowed_callers)

    @property
    def measures_contours(self) -> bool:
        """Whether contours are measured: those that come back, or those of candidates in the shadow."""
        return self.takes_feedback or any(route.shadow for route in self.routes)

    @property
    def audit_file(self) -> Path:
        return self.audit.file or self.own_folder / "audit.log"


def cross_check(config: Config) -> Iterator[tuple[Loc, str]]:
    """Yield (location, message) for every key that contradicts another."""
    for section in ("routes", "destinations", "query"):
        seen: set[str] = set()
        for index, item in enumerate(getattr(config, section)):
            if item.name in seen:
                yield (section, index, "name"), f"{item.name!r} is used twice; names must be unique"
            seen.add(item.name)
    known = config.destination_names
    for index, route in enumerate(config.routes):
        for name in route.destinations:
            if name not in known:
                yield (
                    ("routes", index, "destinations"),
                    f"no destination {name!r}{suggestion(name, known)}; add it to destinations",
                )
    with_rings = {name for route in config.routes if route.rings for name in route.destinations}
    for index, destination in enumerate(config.destinations):
        for organ, message in wrong_names(destination.roi_names, destination.name in with_rings):
            yield ("destinations", index, "roi_names", organ), message
    yield from contradictions(config)
    yield from port_clashes(config)
    if config.dicom.tls is None:
        for section in ("destinations", "query"):
            for index, peer in enumerate(getattr(config, section)):
                if peer.tls:
                    yield (section, index, "tls"), "needs our certificate; add dicom.tls with certificate, key and ca"


def contradictions(config: Config) -> Iterator[tuple[Loc, str]]:
    """Routes that take nothing, and results that would be sent to ourselves."""
    for index, message in foreign_modalities(config.routes):
        yield ("routes", index, "match", "modality"), message
    for index, message in hidden_routes(config.routes):
        yield ("routes", index, "match"), message
    for index, message in own_addresses(config.destinations, config.dicom):
        yield ("destinations", index, "port"), message
    for message in too_short_kept(config.storage, config.series):
        yield ("storage", "keep_days"), message
    if config.cluster.tls is not None and config.database.url is None:
        yield ("cluster", "tls"), "files go between hosts that share a ledger; name its PostgreSQL in database.url"
    for key, message in unusable_cluster(config.compute, bool(config.files_host), config.database.url):
        yield ("compute", key), message
    if config.storage.shared and config.database.url is None:
        yield ("storage", "shared"), "several hosts need a ledger on a server; name its PostgreSQL in database.url"
    if config.storage.shared and config.cluster.tls is not None:
        yield ("storage", "shared"), "a storage that all hosts share needs no files sent; take cluster.tls out, or this"
    if config.feedback.poll and not config.query:
        yield ("feedback", "poll"), "there is nobody to ask; add a query peer under `query`, or say `poll: false`"


def port_clashes(config: Config) -> Iterator[tuple[Loc, str]]:
    """Two of our own listeners on one port."""
    used: dict[int, str] = {}
    tls = config.dicom.tls
    listeners: list[tuple[Loc, int]] = [(("dicom", "port"), port) for port in config.dicom.plain_ports]
    listeners += [(("dicom", "tls", "port"), tls.port)] if tls else []
    listeners += [(("web", "port"), config.web.port)] if config.web.enabled else []
    listeners += [(("cluster", "port"), config.cluster.port)] if config.cluster.tls else []
    for loc, port in listeners:
        if port in used:
            yield loc, f"port {port} is already taken by {used[port]}"
        used[port] = ".".join(map(str, loc))


def suggestion(word: str, known: list[str]) -> str:
    """`; did you mean ...?` for the nearest known word, or nothing."""
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


def load_config(path: Path) -> Config:
    """Read, check and resolve the file at `path`. Raises ConfigError naming every wrong key and its line."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the configuration {path}: {error}") from error
    if all(line.strip() == "" or line.lstrip().startswith("#") for line in text.splitlines()):
        raise ConfigError(f"{path} line 1: the file is empty; write routes and destinations, as in config.example.yaml")
    return parse_config(text, path)


def parse_config(text: str, path: Path) -> Config:
    """The configuration in `text`. `path` is named in errors, and relative paths inside are relative to its folder."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {error}") from error
    if not isinstance(document, dict | None):
        raise ConfigError(f"{path} line 1: expected sections such as dicom: and routes:")
    problems = [*duplicate_keys(node, ()), *disguised_numbers(node, ())]
    try:
        config = Config.model_validate(document or {})
    except ValidationError as error:
        problems += [explain(detail) for detail in error.errors()]
    else:
        problems += cross_check(config)
    if problems:
        raise ConfigError("\n".join(f"{path} {place(node, loc)}: {message}" for loc, message in problems))
    return resolved(config, path.absolute().parent)


def resolved(config: Config, folder: Path) -> Config:
    """The same configuration with every relative path taken from `folder`."""

    def within(section: BaseModel) -> BaseModel:
        changes: dict[str, object] = {}
        for key, value in section:
            if isinstance(value, Path):
                changes[key] = folder / value.expanduser()
            elif isinstance(value, BaseModel):
                changes[key] = within(value)
        return section.model_copy(update=changes)

    whole = within(config)
    assert isinstance(whole, Config)
    return whole


def explain(detail: ErrorDetails) -> tuple[Loc, str]:
    """Where one validation error stands, and a sentence about it."""
    loc = detail["loc"]
    if detail["type"] == "extra_forbidden":
        return loc, f"unknown key{suggestion(str(loc[-1]), keys_at(loc[:-1]))}"
    if detail["type"] == "missing":
        return loc, "is missing"
    message = detail["msg"].removeprefix("Value error, ")
    return loc, f"{message} (found {detail['input']!r})"


def keys_at(loc: Loc) -> list[str]:
    """The keys that are allowed at `loc`."""
    model: type[BaseModel] = Config
    for key in loc:
        if isinstance(key, str) and key in model.model_fields:
            model = next(models_in(model.model_fields[key].annotation), model)
    return list(model.model_fields)


def models_in(annotation: object) -> Iterator[type[BaseModel]]:
    """The sections that an annotation such as `tuple[Route, ...]` or `Tls | None` holds."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from models_in(argument)


def place(node: yaml.Node | None, loc: Loc) -> str:
    """`line N: a.b.c` for a location: the key's own line, or that of its nearest parent in the file."""
    line = 1
    for key in loc:
        if isinstance(node, yaml.MappingNode):
            found = [(k, v) for k, v in node.value if k.value == str(key)]
            if not found:
                break
            line, node = found[-1][0].start_mark.line + 1, found[-1][1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
            node = node.value[key]
            line = node.start_mark.line + 1
        else:
            break
    return f"line {line}: " + ".".join(map(str, loc))


def duplicate_keys(node: yaml.Node | None, loc: Loc) -> Iterator[tuple[Loc, str]]:
    """Yield every key that stands twice in one mapping (YAML would silently take the last)."""
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from duplicate_keys(item, (*loc, index))
    elif isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if key.value in seen:
                yield (*loc, key.value), "stands twice in this section"
            seen.add(key.value)
            yield from duplicate_keys(value, (*loc, key.value))


def disguised_numbers(node: yaml.Node | None, loc: Loc) -> Iterator[tuple[Loc, str]]:
    """Yield every number that YAML 1.1 reads otherwise than people do: 011112 is octal, 1:30 counts in sixties."""
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from disguised_numbers(item, (*loc, index))
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from disguised_numbers(value, (*loc, key.value))
    elif (
        isinstance(node, yaml.ScalarNode) and node.tag.endswith((":int", ":float")) and DISGUISED.fullmatch(node.value)
    ):
        read = yaml.safe_load(node.value)
        yield loc, f"YAML reads {node.value} as {read}; write a plain decimal number, or put a text in quotes"

"""The SOUP list docs/soup.md, from requirements.lock and the installed packages: `python docs/make_soup.py`."""

import importlib.metadata as metadata
import re
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
LOCK = ROOT / "requirements.lock"
SOUP = ROOT / "docs" / "soup.md"
PINNED = re.compile(r"^([a-z0-9][a-z0-9._-]*)==(\S+) \\$", re.MULTILINE | re.IGNORECASE)
HASHED = re.compile(r"--hash=sha256:([0-9a-f]{64})")


@dataclass(frozen=True)
class Reason:
    """What we use a package for, why it may be trusted with that, and which of its anomalies concern us."""

    purpose: str
    trust: str
    watched: str


NOT_OURS = "not in the daemon"
DIRECT = {
    "torch": Reason(
        "runs networks where OpenVINO does not; training",
        "very wide use; its results are compared with OpenVINO's in tests",
        "weights are never unpickled (safetensors only)",
    ),
    "openvino": Reason(
        "runs networks on processors",
        "its makers' main product; its results are compared with torch's in tests",
        "accuracy in bf16: masks compared with those in fp32",
    ),
    "numpy": Reason("arrays", "very wide use", "overflow of integers on conversion: HU are checked to fit int16"),
    "scipy": Reason("filters, labels, interpolation of masks", "very wide use", "border modes: hand-made cases"),
    "scikit-image": Reason(
        "polygons of the read-back gate, independent of the writer",
        "wide use in research",
        "which pixels a polygon fills: every result's Dice with its own mask is checked",
    ),
    "contourpy": Reason(
        "traces outlines of organs", "matplotlib's own contour code", "degenerate outlines: every result is read back"
    ),
    "connected-components-3d": Reason("parts of an organ", "one C++ file with tests", "none that concerns us"),
    "simpleitk": Reason(
        "decodes compressed CT in the worker",
        "wide use in medical imaging",
        "hostile files make it take 22.7 GB or stop it by a signal: header and codestream are checked against each "
        "other first, and the worker's time is limited",
    ),
    "pydicom": Reason(
        "reads headers, writes structure sets",
        "reference implementation in Python",
        "RecursionError on deep nesting, growth of deflated data: neither gets that far",
    ),
    "pynetdicom": Reason(
        "association PDUs; its network code is not used",
        "the DICOM network library of Python, pinned to a version that was read",
        "believes announced lengths, queues without bound, waits for peers, takes any answer for the one it asked "
        "for: see docs/security.md; that part of it is not used",
    ),
    "sqlalchemy": Reason("the ledger", "very wide use", "transaction modes of SQLite: set by hand, tested by kills"),
    "psycopg": Reason(
        "the ledger in PostgreSQL; not installed without the extra `postgresql`",
        "the driver of PostgreSQL for Python, by its long-standing makers",
        "commits of connections that ended: tested by ended connections and restarted servers",
    ),
    "alembic": Reason("migrations of the ledger", "by SQLAlchemy's makers", "a backup is taken before each"),
    "apscheduler": Reason("puts periodic chores into a queue", "wide use", "4.x is another design: pinned below"),
    "pydantic": Reason("checks configuration and bundles", "very wide use", "unknown keys: forbidden"),
    "pyyaml": Reason(
        "reads the configuration", "very wide use", "`load` executes: `safe_load` only, by lint rule S506"
    ),
    "typer": Reason("command line", "wide use", "none that concerns us"),
    "rich": Reason("tables on the terminal", "wide use", "markup in strangers' strings: printed as text, tested"),
    "structlog": Reason("logs", "wide use", "tracebacks quote data: reduced by us to types and places, canary tested"),
    "safetensors": Reason("weights", "made for this", "malformed headers: a file's digest is checked before"),
    "markdown-it-py": Reason(
        "cards and pages of ours as HTML", "wide use", "markup in texts: raw HTML is off, and nobody else writes them"
    ),
    "matplotlib": Reason("pictures of demo and reports", "very wide use", "not on the way of a patient's contours"),
    "fastapi": Reason(
        "the dashboard's pages and REST", "very wide use", "errors that quote the request: answered by us"
    ),
    "uvicorn": Reason(
        "the dashboard's HTTP server",
        "very wide use, small",
        "bodies and headers without bound: limited in front of it",
    ),
    "jinja2": Reason("pages from templates", "very wide use", "strangers' text: autoescape everywhere, tested"),
    "python-multipart": Reason("forms of the dashboard", "FastAPI's own choice", "long forms: a body is limited"),
    "prometheus-client": Reason("figures for a monitoring system", "by Prometheus' makers", "none that concerns us"),
    "argon2-cffi": Reason("digests of passwords", "binds the reference code of Argon2", "cost: attempts are bounded"),
    "authlib": Reason("OpenID Connect", "wide use", "algorithms of tokens: those that we name, no others"),
    "httpx": Reason("asks an OpenID provider", "wide use", "redirects and proxies of the environment: both off"),
    "ldap3": Reason(
        "asks a directory for people", "wide use, pure Python", "injection into filters: names are escaped"
    ),
    "surface-distance": Reason("surface Dice in training and reports", "its paper's own code", NOT_OURS),
    "tensorboard": Reason("curves while training", "wide use", NOT_OURS),
    "rt-utils": Reason("an independent reader in tests", "wide use", NOT_OURS),
    "playwright": Reason("drives a browser in tests", "its makers' main product", NOT_OURS),
    "axe-core-python": Reason("accessibility of the pages in tests", "carries axe-core", NOT_OURS),
    "schemathesis": Reason("requests made from the OpenAPI description in tests", "wide use", NOT_OURS),
    "pytest": Reason("tests", "very wide use", NOT_OURS),
    "pytest-xdist": Reason("tests two at a time", "by pytest's own developers", NOT_OURS),
    "hypothesis": Reason("tests", "wide use", NOT_OURS),
    "import-linter": Reason("checks the direction of imports", "wide use", NOT_OURS),
    "ruff": Reason("style", "very wide use", NOT_OURS),
    "mypy": Reason("types", "very wide use", NOT_OURS),
    "triton": Reason("tests of the card's kernels by its interpreter", "the compiler that torch itself uses", NOT_OURS),
}


def locked() -> dict[str, str]:
    """Package -> version, as pinned."""
    return {canonicalize_name(name): version for name, version in PINNED.findall(LOCK.read_text())}


def asked_by_us(*extras: str) -> list[str]:
    """What pyproject.toml names: for the daemon, or for the given extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lists = [project["optional-dependencies"][extra] for extra in extras] if extras else [project["dependencies"]]
    return sorted(canonicalize_name(Requirement(text).name) for names in lists for text in names)


def asked_by(name: str) -> list[str]:
    """What an installed package asks for on this platform, without extras."""
    found = [Requirement(text) for text in metadata.requires(name) or []]
    return [canonicalize_name(r.name) for r in found if r.marker is None or r.marker.evaluate({"extra": ""})]


def brought() -> dict[str, set[str]]:
    """Every locked package that the daemon's own bring along -> who asks for it."""
    pinned, waiting, asked = locked(), asked_by_us(), dict[str, set[str]]()
    while waiting:
        parent = waiting.pop()
        for child in pinned.keys() & asked_by(parent):
            if child not in asked:
                waiting.append(child)
            asked.setdefault(child, set()).add(parent)
    return asked


def licence(name: str) -> str:
    """From the installed package: the SPDX expression, else the classifier, else the short text."""
    about = metadata.metadata(name)
    classified = [c.split(" :: ")[-1] for c in about.get_all("Classifier", []) if c.startswith("License ::")]
    text = str(about.get("License-Expression") or ", ".join(classified) or about.get("License") or "not stated")
    return text.splitlines()[0].removesuffix(" License").replace("OSI Approved", "not stated")


def rows(names: list[str], *, by: dict[str, set[str]] | None = None) -> str:
    pinned, lines = locked(), []
    for name in names:
        cells = [name, pinned[name], licence(name)]
        if by is not None:
            cells.append(", ".join(sorted(by[name])))
        else:
            reason = DIRECT[name]
            cells += [reason.purpose, reason.trust, reason.watched]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def soup() -> str:
    """docs/soup.md as it must be now."""
    ours, by = asked_by_us(), brought()
    others, tools = sorted(by.keys() - set(ours)), sorted(set(asked_by_us("dev", "training")) - set(ours))
    count = len(ours) + len(others)
    return TEXT.format(ours=rows(ours), others=rows(others, by=by), tools=rows(tools), count=count, ray=locked()["ray"])


TEXT = """# Software of unknown provenance

The list that IEC 62304 asks for (5.3.3, 5.3.4, 7.1.2, 8.1.2), made by `python docs/make_soup.py` from
`requirements.lock` and the installed packages. `tests/unit/test_supply.py` fails where it is no longer true.

{count} packages are in the daemon. What each must do, and within which limits, is tested through our own functions: an
upgrade that breaks it fails `make test`. `make audit` asks the advisory databases for their published anomalies. The
ones below are watched because a patient's contours or the listener depend on them.

## In the daemon, asked for by us

| name | version | licence | purpose | why trusted | known anomalies watched |
|---|---|---|---|---|---|
{ours}

## In the daemon, brought along

| name | version | licence | asked for by |
|---|---|---|---|
{others}

`setuptools` comes with torch, and is not used by the daemon.

## For training and tests only

| name | version | licence | purpose | why trusted | known anomalies watched |
|---|---|---|---|---|---|
{tools}

## Not installed unless asked for

`ray` {ray} (Apache-2.0, extra `cluster`) starts the workers of cards on other hosts. It is trusted because of its wide
use, and because it never holds a job, an image or a result. Watched: it runs any program for whoever has its token
([cluster.md](cluster.md), "Ray"), and a call to a head that is away ends its process, so it has one of its own.

## Outside Python

| what | purpose | known anomalies watched |
|---|---|---|
| CPython 3.11 or later | everything | security fixes end in October 2027 for 3.11 |
| SQLite (with CPython) | the ledger | 3.7.0 to 3.51.2: a rare race between a checkpoint and a writer (the "WAL-reset \
bug"); several processes write here, so prefer a distribution that has the fix |
| OpenSSL (with CPython) | TLS | advisories of the distribution |
| Linux, ext4 or xfs | durable files | fsync errors are reported once: an object whose fsync failed is refused |

## The lock

`requirements.lock` pins every package, those for training and tests included, with the SHA-256 of each of its files.
`make lock` makes it anew from `pyproject.toml`, `constraints.txt` and `requirements.in`; `make install-locked` installs
exactly that, and refuses any file whose digest differs. torch is pinned in its build without CUDA (`2.13.0+cpu`), which
its makers publish in an index of their own: tell pip of it in pip's own configuration (`find-links` or
`extra-index-url`), or the installation says that no such version is found. The build with CUDA, and the libraries that
come with it, are not locked.

`make audit` compares the lock with published advisories and says so where it cannot reach them. `make sbom` writes
`dist/sbom.cdx.json`, a CycloneDX document of the lock with licences where they are known; it needs no network.
"""

if __name__ == "__main__":
    SOUP.write_text(soup())
    sys.stdout.write(f"{SOUP.name}: {len(locked())} pinned packages\n")

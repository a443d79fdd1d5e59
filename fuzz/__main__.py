"""Long runs with atheris (pip install atheris): `python -m fuzz TARGET [-max_total_time=120] [CORPUS]`.

TARGET is one of association, command_set, data_set, stored_file; what follows goes to libFuzzer. The corpus folder is
filled with seeds first, and libFuzzer adds what reaches new code. A finding ends the run and leaves a file `finding-*`
in the working directory: `python -m fuzz TARGET finding-FILE` plays it again.
"""

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path

INSTRUMENTED = [
    "rtseg_daemon.dicom",
    "rtseg_daemon.receive",
    "rtseg_daemon.ct",
    "pynetdicom.pdu",
    "pynetdicom.pdu_items",
    "pynetdicom.presentation",
]


def main(arguments: list[str]) -> int:
    try:
        import atheris
    except ImportError:
        print("atheris is not installed: pip install atheris, in an environment that has rtseg-daemon", file=sys.stderr)
        return 2
    with atheris.instrument_imports(include=INSTRUMENTED):
        from fuzz.targets import TARGETS
    from fuzz.seeds import SEEDS
    from rtseg_daemon.config.file import Config
    from rtseg_daemon.logs import configure

    if not arguments or arguments[0] not in TARGETS:
        print(__doc__, file=sys.stderr)
        return 2
    name, *rest = arguments
    folders = [Path(part) for part in rest if not part.startswith("-") and not Path(part).is_file()]
    for folder in folders[:1]:
        folder.mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(SEEDS[name]()):
            (folder / f"seed-{number}").write_bytes(seed)
    configure(Config.model_validate({"logging": {"level": "ERROR"}}).logging, "fuzz")
    atheris.Setup(
        [f"fuzz {name}", "-max_len=65536", "-timeout=10", "-rss_limit_mb=1024", *rest], keeping(TARGETS[name])
    )
    atheris.Fuzz()
    return 0


def keeping(target: Callable[[bytes], None]) -> Callable[[bytes], None]:
    """The target; what it breaks on is written to a file (libFuzzer's own way needs a sanitizer's runtime)."""

    def run(data: bytes) -> None:
        try:
            target(data)
        except BaseException:
            Path(f"finding-{hashlib.sha256(data).hexdigest()[:16]}").write_bytes(data)
            raise

    return run


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""A small certificate authority for tests, made with the openssl program."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

CONFIG = """
[ca]
default_ca = test
[test]
dir = {folder}
database = {folder}/index.txt
new_certs_dir = {folder}
serial = {folder}/serial
default_md = sha256
policy = any
copy_extensions = copy
unique_subject = no
[any]
commonName = supplied
"""


@dataclass(frozen=True)
class Pair:
    """A certificate and its key."""

    certificate: Path
    key: Path

    @property
    def fingerprint(self) -> str:
        """SHA-256 as openssl prints it."""
        printed = openssl("x509", "-in", self.certificate, "-noout", "-fingerprint", "-sha256")
        return printed.strip().split("=")[1]


class Authority:
    """One CA in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        (folder / "index.txt").write_text("")
        (folder / "serial").write_text("1000\n")
        (folder / "openssl.cnf").write_text(CONFIG.format(folder=folder))
        self.certificate, key = folder / "ca.crt", folder / "ca.key"
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=Test CA", "-days", "30", "-keyout", key,
                "-out", self.certificate)  # fmt: skip

    def issue(self, name: str, *, san: str = "IP:127.0.0.1,DNS:localhost", days: tuple[str, str] | None = None) -> Pair:
        """A certificate for `name`; `days`: first and last moment as YYYYMMDDHHMMSSZ."""
        key, request, certificate = (self.folder / f"{name}.{kind}" for kind in ("key", "csr", "crt"))
        openssl("req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-addext",
                f"subjectAltName={san}", "-keyout", key, "-out", request)  # fmt: skip
        period = ("-startdate", days[0], "-enddate", days[1]) if days else ("-days", "30")
        openssl("ca", "-batch", "-config", self.folder / "openssl.cnf", "-in", request, "-out", certificate,
                "-cert", self.certificate, "-keyfile", self.folder / "ca.key", "-notext", *period)  # fmt: skip
        return Pair(certificate, key)


def openssl(*arguments: object) -> str:
    """Run openssl; skips the test where it is missing."""
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("needs the openssl program")
    done = subprocess.run(
        [program, *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout

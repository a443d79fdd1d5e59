"""When a certificate ends, read from the certificate itself, whether it is still trusted or not."""

import binascii
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

DAY = 86400.0
WARN_DAYS = (7, 30)
"""An alarm each, so many days before the end, and a further one at the end."""
UTC_TIME, GENERALIZED_TIME = 0x17, 0x18
HAS_EXPIRED = 10
"""X509_V_ERR_CERT_HAS_EXPIRED, OpenSSL's code for a certificate that was refused because it has ended."""


@dataclass(frozen=True)
class EndOfCertificate:
    """When one certificate ends. `whose` says whose it is and where it lies."""

    whose: str
    ends: float
    seconds_left: float

    def sentence(self) -> str:
        """What a person must know of it."""
        day = datetime.fromtimestamp(self.ends, UTC).strftime("%Y-%m-%d %H:%M UTC")
        if self.seconds_left <= 0:
            return f"the certificate of {self.whose} ended on {day}"
        return f"the certificate of {self.whose} ends in {int(self.seconds_left // DAY)} days, on {day}"

    def stage(self) -> str | None:
        """Which alarm is due: `ended`, `7`, `30`, or none yet."""
        if self.seconds_left <= 0:
            return "ended"
        return next((str(days) for days in WARN_DAYS if self.seconds_left <= days * DAY), None)

    @property
    def key(self) -> str:
        """The same for one certificate and stage."""
        return f"certificate:{self.whose}:{int(self.ends)}:{self.stage()}"


def ends_in(path: Path) -> list[float]:
    """The end of each certificate of a PEM file, in seconds since 1970. Raises OSError, ValueError for a broken one."""
    return [end_of(der) for der in certificates_in(path.read_text(encoding="ascii", errors="replace"))]


def certificates_in(pem: str) -> Iterator[bytes]:
    """Every certificate of a PEM text, in DER. Raises ValueError for one that is broken."""
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    for part in pem.split(begin)[1:]:
        yield binascii.a2b_base64(part.split(end)[0])


def end_of(certificate: bytes) -> float:
    """`notAfter` of a DER certificate (RFC 5280, 4.1), in seconds since 1970. Raises ValueError if it is none."""
    try:
        tbs = next(parts(next(parts(certificate))[1]))[1]
        fields = [one for one in parts(tbs) if one[0] != 0xA0]  # without the version, which may be left out
        validity = fields[3][1]
        kind, moment = list(parts(validity))[1]
        return moment_of(kind, moment.decode("ascii"))
    except (IndexError, StopIteration, UnicodeDecodeError) as error:
        raise ValueError("this is no certificate") from error


def parts(der: bytes) -> Iterator[tuple[int, bytes]]:
    """(tag, content) of each element in a row of DER elements (X.690, 8.1)."""
    at = 0
    while at < len(der):
        tag, length, start = der[at], der[at + 1], at + 2
        if length & 0x80:
            start += length & 0x7F
            length = int.from_bytes(der[at + 2 : start], "big")
        yield tag, der[start : start + length]
        at = start + length


def moment_of(kind: int, text: str) -> float:
    """A UTCTime or GeneralizedTime as certificates have it (RFC 5280, 4.1.2.5), in seconds since 1970."""
    if kind == UTC_TIME:
        text = ("20" if int(text[:2]) < 50 else "19") + text
    elif kind != GENERALIZED_TIME:
        raise ValueError("this is no certificate")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()


def refused_as_ended(error: BaseException) -> bool:
    """Whether a handshake failed because the other side's certificate has ended."""
    return isinstance(error, ssl.SSLCertVerificationError) and error.verify_code == HAS_EXPIRED

"""The section `cluster` of the configuration: what one host of several shows to the others."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from rtseg_daemon.config.sections import Section
from rtseg_daemon.config.values import Port


class HostTls(Section):
    """This host's certificate and key, and the CA that the certificates of all hosts come from, and no others."""

    certificate: Path
    key: Path
    ca: Path


class Cluster(Section):
    """Files between hosts. Without `tls` none are served, and none fetched.

    Args:
        host: address on which files are served.
        address: how other hosts call it, `name` or `name:port`. Left out: `host` and `port`.
        cache_gb: what files of other hosts may take here, for each process.
    """

    host: str = "127.0.0.1"
    port: Port = 11443
    address: Annotated[str, Field(pattern=r"^[A-Za-z0-9.:_\[\]-]+$")] | None = None
    tls: HostTls | None = None
    cache_gb: Annotated[float, Field(gt=0)] = 20

    @property
    def shown_address(self) -> str:
        """`host:port` as other hosts reach it."""
        if self.address is None:
            return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
        return self.address if self.address.rpartition(":")[2].isdecimal() else f"{self.address}:{self.port}"

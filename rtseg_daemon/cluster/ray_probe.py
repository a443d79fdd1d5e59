"""What stands at a Ray address, asked by one short call, so that a sentence can say what is wrong with it."""

import os
from pathlib import Path

import grpc

from rtseg_daemon.cluster.ray_line import NO_HEAD
from rtseg_daemon.errors import ClusterError

PROBE_SECONDS = 5.0
HEAD_CALL = "/ray.rpc.NodeInfoGcsService/GetClusterId"
CLIENT_CALL = "/ray.rpc.RayletDriver/ClusterInfo"
NOBODY = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


def require_head(address: str) -> None:
    """Raise ClusterError where no head answers there, or where it refuses our token. `auto` is left to Ray."""
    if address == "auto":
        return
    code = status(address, token())
    if code in NOBODY:
        raise ClusterError(NO_HEAD.format(address))
    if code is grpc.StatusCode.UNAUTHENTICATED:
        raise ClusterError(
            f"the Ray head at {address} refuses our token; let compute.cluster_token name the file that the head uses"
        )


def lets_everybody_in(address: str) -> bool:
    """Whether the head asks for no token: whoever reaches it may run programs there."""
    return status(address, None) not in (*NOBODY, grpc.StatusCode.UNAUTHENTICATED)


def status(address: str, token: str | None) -> grpc.StatusCode:
    """What one call with this token comes to. A head that let us in may answer that it does not understand."""
    call = CLIENT_CALL if address.startswith("ray://") else HEAD_CALL
    sent = [("authorization", f"Bearer {token}")] if token else []
    with grpc.insecure_channel(address.removeprefix("ray://")) as channel:
        try:
            channel.unary_unary(call)(b"", timeout=PROBE_SECONDS, metadata=sent)
        except grpc.RpcError as error:
            code: grpc.StatusCode = error.code()
            return code
    return grpc.StatusCode.OK


def token() -> str | None:
    """The token that Ray uses in this process, by its own rules."""
    if os.environ.get("RAY_AUTH_MODE") != "token":
        return None
    if said := os.environ.get("RAY_AUTH_TOKEN"):
        return said
    file = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ClusterError(f"the token of Ray cannot be read from {file}: {error.strerror}") from error

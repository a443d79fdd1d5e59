"""What a host answers to other hosts: its files by their row in the ledger. It takes the results of its own jobs."""

import hashlib
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO, Protocol

from sqlalchemy.exc import SQLAlchemyError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from rtseg_daemon.cluster.exchange import SHA256
from rtseg_daemon.errors import LeaseLost, StorageError
from rtseg_daemon.logs import describe, log

DIGEST = re.compile(r"[0-9a-f]{64}")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,80}")
"""Of a result's file: never a path, never hidden."""


class Holdings(Protocol):
    """What this host has, and where it keeps what is brought. Called in threads."""

    def find(self, kind: str, number: int) -> Path | None:
        """The file of this row of the ledger, if it lies here: `image`, `result` or `returned`."""

    def beside(self, job_id: int) -> dict[str, Path]:
        """What lies beside the structure set of a job that is at home here, by name. Empty for any other job."""

    def part(self, size: int) -> Path:
        """A new path on the results' disk to write `size` bytes to. Raises StorageError where there is no room."""

    def keep(self, job_id: int, token: int, name: str, part: Path) -> None:
        """Put a whole, synced file in its place. Raises LeaseLost where `token` is not the job's any more."""


def exchange_app(holdings: Holdings) -> Starlette:
    """The application. Who may ask was settled by the TLS handshake: a certificate of the hosts' own CA."""

    async def fetched(request: Request) -> Response:
        kind, number = request.path_params["kind"], request.path_params["number"]
        path = await run_in_threadpool(holdings.find, kind, number)
        if path is None or not path.is_file():
            return PlainTextResponse(f"this host has no file of {kind[:12]} {number}", 404)
        return FileResponse(path, media_type="application/octet-stream")

    async def listed(request: Request) -> Response:
        found = await run_in_threadpool(holdings.beside, request.path_params["job"])
        return JSONResponse(await run_in_threadpool(lambda: [described(path) for path in found.values()]))

    async def fetched_beside(request: Request) -> Response:
        job_id, name = request.path_params["job"], request.path_params["name"]
        path = (await run_in_threadpool(holdings.beside, job_id)).get(name)
        if path is None:
            return PlainTextResponse(f"this host has no such file beside the result of job {job_id}", 404)
        return FileResponse(path, media_type="application/octet-stream")

    async def brought(request: Request) -> Response:
        job_id, token, name = (request.path_params[key] for key in ("job", "token", "name"))
        digest, length = request.headers.get(SHA256, ""), request.headers.get("content-length", "")
        if not (NAME.fullmatch(name) and DIGEST.fullmatch(digest) and length.isdecimal()):
            return PlainTextResponse("a result's file needs a plain name, its SHA-256 and its length", 400)
        try:
            part = await run_in_threadpool(holdings.part, int(length))
            try:
                if await written(request.stream(), part, int(length)) != digest:
                    return PlainTextResponse(f"{name} did not arrive as it was sent (digest differs)", 422)
                await run_in_threadpool(holdings.keep, job_id, token, name, part)
            finally:
                part.unlink(missing_ok=True)
        except LeaseLost as error:
            return PlainTextResponse(str(error), 409)
        except StorageError as error:
            return PlainTextResponse(str(error), 507)
        except OSError as error:
            log().error("a result from another host cannot be kept", job=job_id, exc_info=error)
            return PlainTextResponse(f"{name} cannot be kept: {error.strerror}", 507)
        except ClientDisconnect as error:
            log().warning("another host broke off in the middle of a result", job=job_id, reason=describe(error))
            return PlainTextResponse("", 400)
        return Response(status_code=204)

    async def without_ledger(_request: Request, error: Exception) -> Response:
        log().error("no file can be given or taken: the ledger cannot be asked now", reason=describe(error))
        return PlainTextResponse("its ledger cannot be asked now", 503)

    return Starlette(
        exception_handlers={SQLAlchemyError: without_ledger},
        routes=[
            Route("/files/{kind}/{number:int}", fetched),
            Route("/files/beside/{job:int}/{name}", fetched_beside),
            Route("/results/{job:int}", listed),
            Route("/results/{job:int}/{token:int}/{name}", brought, methods=["PUT"]),
        ],
    )


def described(path: Path) -> dict[str, str | int]:
    """A file as another host needs to know it before it asks for it."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return {"name": path.name, "size": os.fstat(file.fileno()).st_size, "sha256": digest}


async def written(pieces: AsyncIterator[bytes], part: Path, length: int) -> str:
    """Write at most `length` bytes durably to `part`. Returns their SHA-256 in hexadecimal."""
    hashed = hashlib.sha256()
    with part.open("wb") as file:
        async for piece in pieces:
            hashed.update(piece)
            await run_in_threadpool(file.write, piece)
            if file.tell() > length:
                break
        await run_in_threadpool(synced, file)
    return hashed.hexdigest()


def synced(file: BinaryIO) -> None:
    """Everything written so far is on the disk."""
    file.flush()
    os.fsync(file.fileno())

"""A refusal before any page is asked: one sentence, and the connection is closed."""

from starlette.types import Send


async def refuse(send: Send, status: int, sentence: str) -> None:
    """Answer with `sentence` and nothing else. What the client still sends is not read."""
    body = f"{sentence}\n".encode()
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})

"""What every answer says to the browser: load nothing from elsewhere, run no inline script, keep nothing."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
ALWAYS = {
    b"content-security-policy": POLICY.encode(),
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"same-origin",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
    b"permissions-policy": b"camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
OVER_TLS = {b"strict-transport-security": b"max-age=31536000"}
NOT_KEPT = (b"cache-control", b"no-store")
STATIC = "/static/"


class Headers:
    """Adds them to every answer, refusals included. What is not under /static/ is kept by no cache."""

    def __init__(self, app: ASGIApp, secure: bool) -> None:
        self.app = app
        self.added = ALWAYS | (OVER_TLS if secure else {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = self.completed(list(message.get("headers", [])), scope["path"])
            await send(message)

        return await self.app(scope, receive, with_headers)

    def completed(self, headers: list[tuple[bytes, bytes]], path: str) -> list[tuple[bytes, bytes]]:
        """The page's own headers and ours. Ours hold where both speak of the same thing, but for caching."""
        kept = [(name, value) for name, value in headers if name.lower() not in self.added]
        says = any(name.lower() == NOT_KEPT[0] for name, _ in kept)
        own = [] if says or path.startswith(STATIC) else [NOT_KEPT]
        return [*kept, *own, *self.added.items()]

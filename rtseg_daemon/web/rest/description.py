"""GET /api/v1/openapi.json: what programs may ask, for those who may ask."""

from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.openapi.utils import get_openapi

from rtseg_daemon import web
from rtseg_daemon.web.people.guard import Viewer

router = APIRouter(include_in_schema=False)
ERROR = {"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]}
SENTENCES = {
    "401": "no token or session",
    "403": "the role does not suffice",
    "404": "there is none",
    "409": "not possible as things stand",
    "413": "too large",
    "422": "not understood",
    "503": "the ledger cannot be used now",
}


@router.get("/api/v1/openapi.json")
def openapi(_person: Viewer, request: Request) -> dict[str, Any]:
    """The description."""
    app = request.app
    assert isinstance(app, FastAPI)
    return described(app)


def described(app: FastAPI) -> dict[str, Any]:
    """OpenAPI of everything under /api, with every refusal as `{"error": sentence}`."""
    found = get_openapi(title=app.title, version="1", description=web.__doc__, routes=app.routes)
    found["paths"] = {path: item for path, item in found["paths"].items() if path.startswith("/api/")}
    found["components"].setdefault("schemas", {})["Error"] = ERROR
    found["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    found["security"] = [{"token": []}]
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    for path in found["paths"].values():
        for operation in path.values():
            for status, sentence in SENTENCES.items():
                operation["responses"][status] = {"description": sentence, "content": content}
    return found

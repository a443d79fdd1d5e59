"""The dashboard as one application: safety around it, then people, pages and answers for programs."""

from collections.abc import Iterator

from fastapi import APIRouter, FastAPI

from rtseg_daemon.web.people import first_page, login
from rtseg_daemon.web.place import Place
from rtseg_daemon.web.rest import acting, description, health, looking, metrics
from rtseg_daemon.web.safety.bodies import Bodies
from rtseg_daemon.web.safety.headers import Headers
from rtseg_daemon.web.safety.hosts import Hosts
from rtseg_daemon.web.static_files import mount_static
from rtseg_daemon.web.trouble import answer_troubles
from rtseg_daemon.web.viewer import routes as viewer

ROUTERS = (
    login.router,
    first_page.router,
    viewer.router,
    looking.router,
    acting.router,
    description.router,
    health.router,
    metrics.router,
)


def routers_of(place: Place) -> Iterator[APIRouter]:
    """All of them. The pages of a provider are there where one is configured: its libraries take 20 MB."""
    yield from ROUTERS
    if place.config.web.oidc is not None:
        # Authlib and httpx, as above
        from rtseg_daemon.web.people import oidc_pages

        yield oidc_pages.router


def make_app(place: Place) -> FastAPI:
    """The application for one place. It opens no port and no ledger of its own."""
    app = FastAPI(title="rtseg-daemon", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.place = place
    for router in routers_of(place):
        app.include_router(router)
    mount_static(app)
    answer_troubles(app)
    app.add_middleware(Bodies)
    app.add_middleware(Hosts, web=place.config.web)
    app.add_middleware(Headers, secure=place.config.web.secure)
    return app

"""The dashboard as one application: safety around it, then people, pages and answers for programs."""

from fastapi import Depends, FastAPI

from rtseg_daemon.web.pages import routes as pages
from rtseg_daemon.web.people import first_page, login, oidc_pages
from rtseg_daemon.web.place import Place
from rtseg_daemon.web.rest import acting, bundles, description, health, looking, metrics, people, returning, trail
from rtseg_daemon.web.safety.bodies import Bodies
from rtseg_daemon.web.safety.headers import Headers
from rtseg_daemon.web.safety.hosts import Hosts
from rtseg_daemon.web.schema_check import known_schema
from rtseg_daemon.web.static_files import mount_static
from rtseg_daemon.web.trouble import answer_troubles
from rtseg_daemon.web.viewer import routes as viewer

ROUTERS = (
    login.router,
    oidc_pages.router,
    first_page.router,
    viewer.router,
    looking.router,
    trail.router,
    bundles.router,
    people.router,
    acting.router,
    returning.router,
    description.router,
    metrics.router,
    pages.router,
)


def make_app(place: Place) -> FastAPI:
    """The application for one place. It opens no port and no ledger of its own."""
    app = FastAPI(title="rtseg-daemon", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.place = place
    for router in ROUTERS:
        app.include_router(router, dependencies=[Depends(known_schema)])
    app.include_router(health.router)  # it says itself what is wrong with a ledger
    mount_static(app)
    answer_troubles(app)
    app.add_middleware(Bodies)
    app.add_middleware(Hosts, web=place.config.web)
    app.add_middleware(Headers, secure=place.config.web.secure)
    return app

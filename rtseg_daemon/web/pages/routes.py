"""All pages together, as the application includes them."""

from fastapi import APIRouter

from rtseg_daemon.web.pages import (
    about,
    asking,
    audit,
    bundles,
    case,
    cases,
    live,
    now,
    quality,
    returning,
    rolling_back,
    worklist,
)

router = APIRouter(include_in_schema=False)
for page in (now, worklist, cases, asking, case, returning, bundles, rolling_back, quality, audit, about, live):
    router.include_router(page.router)

"""All pages together, as the application includes them."""

from fastapi import APIRouter, Depends

from rtseg_daemon.web.pages import about, asking, audit, bundles, case, cases, live, now, quality, returning, worklist
from rtseg_daemon.web.schema_check import known_schema

router = APIRouter(include_in_schema=False, dependencies=[Depends(known_schema)])
for page in (now, worklist, cases, asking, case, returning, bundles, quality, audit, about, live):
    router.include_router(page.router)

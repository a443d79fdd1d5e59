"""GET and POST /api/v1/bundles/...: what is installed, from the cache that the pages have, and the way back."""

from fastapi import APIRouter
from starlette.exceptions import HTTPException

from rtseg_daemon.bundles import bundle_names, load_bundle
from rtseg_daemon.config.values import without_version
from rtseg_daemon.errors import StateError
from rtseg_daemon.upkeep import deciding
from rtseg_daemon.upkeep.installed import in_full, in_list
from rtseg_daemon.web.pages.known_bundles import known_bundles
from rtseg_daemon.web.people.guard import Physicist, Viewer
from rtseg_daemon.web.place import Here, Place
from rtseg_daemon.web.rest.acting import desk
from rtseg_daemon.web.rest.asked import BundleName, Reason, Shape, Shapes, text

router = APIRouter(prefix="/api/v1/bundles", tags=["bundles"])


@router.get("")
def bundles(_person: Viewer, place: Here) -> Shapes:
    """As `models list --json`."""
    return [in_list(one.name, one.bundle, one.error, one.versions) for one in known_bundles(place.models, place.config)]


@router.get("/{name}")
def one_bundle(_person: Viewer, place: Here, name: BundleName) -> Shape:
    """As `models show --json`, of NAME or NAME@VERSION. Every file is compared with its digest. 409 for damage."""
    must_be_there(place, without_version(name))
    return in_full(place.models, load_bundle(place.models, name))


@router.post("/{name}/rollback")
def rollback(person: Physicist, place: Here, name: BundleName, asked: Reason) -> Shape:
    """Let the version before the present one serve again. As `models rollback --json`. 422 without a reason."""
    must_be_there(place, name)
    if not asked.why.strip():
        raise HTTPException(422, "why: say why the version before shall serve again")
    return deciding.roll_back(desk(place, person), name, text(asked.why))


def must_be_there(place: Place, name: str) -> None:
    """Raise StateError (404) where no bundle of this name is installed."""
    if name not in bundle_names(place.models):
        raise StateError(f"there is no bundle {name[:32]!r}; see `rtseg-daemon models list`")

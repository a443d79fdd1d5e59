"""GET /api/v1/users and /api/v1/tokens: who may log in and ask, for admins. They are made and changed by command."""

from fastapi import APIRouter

from rtseg_daemon.ledger.engine import reading
from rtseg_daemon.web.people import accounts, tokens
from rtseg_daemon.web.people.guard import Admin
from rtseg_daemon.web.place import Here
from rtseg_daemon.web.rest.asked import Shapes

router = APIRouter(prefix="/api/v1", tags=["people"])


@router.get("/users")
def users(_person: Admin, place: Here) -> Shapes:
    """As `users list --json`."""
    with reading(place.engine) as session:
        return [accounts.account_shape(account) for account in accounts.accounts(session)]


@router.get("/tokens")
def all_tokens(_person: Admin, place: Here) -> Shapes:
    """As `tokens list --json`."""
    with reading(place.engine) as session:
        return [tokens.token_shape(token) for token in tokens.tokens(session)]

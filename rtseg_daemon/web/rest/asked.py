"""What programs may ask and say: the types of the REST twin's parameters and bodies."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import Path, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from rtseg_daemon.web.numbers import LARGEST

MOST = 1000

Number = Annotated[int, Path(ge=1, le=LARGEST)]
BundleName = Annotated[str, Path(min_length=1, max_length=200)]
Limit = Annotated[int, Query(ge=1, le=MOST, description="At most so many, the newest.")]
Older = Annotated[int | None, Query(ge=1, le=LARGEST, description="Only those of smaller numbers: the next page.")]
Since = Annotated[datetime | None, Query(description="ISO 8601. Local time unless it ends in a zone.")]

Shape = dict[str, Any]
Shapes = list[Shape]


class Reason(BaseModel):
    """The body of an action."""

    model_config = ConfigDict(extra="forbid")

    why: str = Field(default="", max_length=2000)


class Why(Reason):
    """The body of a decision about a job. `as_of`: the newest event that the person had seen, where two decide."""

    as_of: int | None = Field(default=None, ge=0, le=LARGEST)


class Again(Why):
    """The body of a rerun."""

    bundle: str | None = Field(default=None, min_length=1, max_length=200)
    no_send: bool = False


class Anew(Why):
    """The body of limits made anew. Without a route: of all routes."""

    bundle: str = Field(min_length=1, max_length=200)
    organ: str = Field(min_length=1, max_length=64)
    route: str = Field(default="", max_length=200)


def seconds(moment: datetime | None) -> float | None:
    """Seconds since 1970. Raises HTTPException (422) for a time that no clock of this machine has."""
    try:
        return None if moment is None else moment.timestamp()
    except (OverflowError, ValueError, OSError) as error:
        raise HTTPException(422, "since: no such time") from error


def text(value: str) -> str:
    """A text as the ledger can keep it. Raises HTTPException (422) for halves of characters, which UTF-8 has not."""
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise HTTPException(422, "a text holds half of a character") from error
    return value

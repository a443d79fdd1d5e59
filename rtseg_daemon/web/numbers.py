"""Numbers that come with a request and name a row of the ledger. A larger one than a row can have is not asked for."""

from typing import Annotated

from fastapi import Path, Query

LARGEST = 2**63 - 1
"""The largest number that a row of the ledger can have."""

Row = Annotated[int, Path(ge=0, le=LARGEST)]
"""In the path of a page. There is no row 0, which is told like any other that is not there."""
Other = Annotated[int | None, Query(ge=0, le=LARGEST)]
"""In a query: where the next page of a list begins."""

"""What several tests of reception share."""

from collections.abc import Iterator

import pytest

from rtseg_daemon.receive.decoding import Decoder


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    """One for all tests, as one serves all associations."""
    decoder = Decoder()
    yield decoder
    decoder.close()

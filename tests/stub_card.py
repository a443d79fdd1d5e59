"""An actor in Ray whose network is the stub's."""

import os

from rtseg_daemon.daemon.card import Card
from rtseg_daemon.work import case, painter
from tests.stub import load_stub, no_picture


class StubCard(Card):
    """Nothing else of it is stubbed."""

    def prepare(self) -> None:
        case.load_segmenter = load_stub
        if "STUB_PICTURE" not in os.environ:
            painter.draw = no_picture

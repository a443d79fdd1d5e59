"""What Ray starts for each card. The card's own modules are large, and are loaded on its node alone."""

import importlib
from typing import Any


class RtsegCard:
    """An actor that hands everything on to a card.

    Args:
        card: its class, `MODULE:CLASS`.
        arguments: of that class.
    """

    def __init__(self, card: str, *arguments: Any) -> None:
        module, _, name = card.partition(":")
        self.card = getattr(importlib.import_module(module), name)(*arguments)

    def follow(self, owner: str, token: int, version: str) -> dict[str, Any]:
        """How the card is, see `daemon.card.Card.follow`."""
        said: dict[str, Any] = self.card.follow(owner, token, version)
        return said

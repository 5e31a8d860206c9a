"""Telling what a store finds to be lost: deleted by somebody else, or gone with its server.

A broker that finds out keeps one `Losses` for the life of its handle and tells it. It logs
what it found by itself; this is for those who count.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import TypeAlias

__all__ = ["Loss", "LossListener", "Losses"]


class Loss(Enum):
    """What is lost."""

    MESSAGES = "messages"  # these, and the others are there
    EVERYTHING = "everything"  # the store was emptied, or came back without its data


LossListener: TypeAlias = Callable[[Loss, int], None]
"""Is told what is lost, and how many messages as far as anybody knows; must return at once."""


class Losses:
    """Who is told of losses, in the loop where they are found."""

    def __init__(self) -> None:
        self._listeners: list[LossListener] = []

    def add(self, listener: LossListener, /) -> None:
        """Tell *listener* from now on."""
        self._listeners.append(listener)

    def discard(self, listener: LossListener, /) -> None:
        """Tell *listener* no more."""
        if listener in self._listeners:
            self._listeners.remove(listener)

    def tell(self, loss: Loss, count: int = 0) -> None:
        """Tell of *loss*, of *count* messages; 0 when nobody knows how many."""
        for listener in tuple(self._listeners):
            listener(loss, count)

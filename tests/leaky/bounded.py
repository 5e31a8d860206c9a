"""The sound broker below the bugs: memory with two troubles that a test can make.

A store in memory is never full and never a replica, so nothing could show that a broker does
the wrong thing when its store is.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from weakref import WeakKeyDictionary

from stem_core.contracts.admin import Health
from stem_core.contracts.messages import (
    Message,
    Published,
    Settled,
    Settlement,
    SettleStatus,
)
from stem_core.embedded.memory.admin import MemoryAdmin
from stem_core.embedded.memory.broker import InMemoryBroker
from stem_core.embedded.memory.store import MemoryStore
from stem_core.model.errors import StoreFull
from stem_core.model.value import replace

__all__ = ["BoundedAdmin", "BoundedBroker"]

_troubles: WeakKeyDictionary[MemoryStore, set[str]] = WeakKeyDictionary()
_NO_ROOM = Settled(SettleStatus.FULL, "no room for follow-ups")


class BoundedAdmin(MemoryAdmin):
    """What operators are told, troubles included."""

    def __init__(self, broker: BoundedBroker) -> None:
        super().__init__(broker)
        self._broker = broker

    async def health(self) -> Health:
        health = await super().health()
        is_replica = "read-only" in self._broker.troubles
        return replace(health, ok=False, detail="a replica") if is_replica else health


class BoundedBroker(InMemoryBroker):
    """Memory that can be full, and read-only; whoever shares the store shares the trouble."""

    @property
    def troubles(self) -> set[str]:
        """Of ``full`` and ``read-only`` what is the case."""
        return _troubles.setdefault(self.store, set())

    @asynccontextmanager
    async def in_trouble(self, what: str) -> AsyncIterator[None]:
        """Make the trouble *what* for the length of a block."""
        self.troubles.add(what)
        yield
        self.troubles.discard(what)

    @property
    def admin(self) -> MemoryAdmin:
        return BoundedAdmin(self)

    async def publish(self, messages: Sequence[Message]) -> Sequence[Published]:
        if "full" in self.troubles:
            raise StoreFull("no room")
        return await super().publish(messages)

    async def settle(self, settlements: Sequence[Settlement]) -> Sequence[Settled]:
        if "full" not in self.troubles:
            return await super().settle(settlements)
        fit = [each for each in settlements if not each.follow_ups]
        replies: Any = iter(await super().settle(fit))
        return [_NO_ROOM if each.follow_ups else next(replies) for each in settlements]

"""A broker with faults on demand: a thin skin around the one in memory."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from stem_core.contracts.messages import Settled, SettleStatus
from stem_core.embedded.memory.broker import InMemoryBroker
from stem_core.model.errors import StoreError, StoreUnavailable

_names = itertools.count(1)


def a_name() -> str:
    """A store that no other test uses."""
    return f"worker-tests-{next(_names)}"


class FaultyBroker(InMemoryBroker):
    """Fails when told to.

    Attributes:
        before, after: by verb, how often it fails without doing anything, and how often
            it does its work and then loses the reply.
        locked: ids whose settlements are busy, each as often as it is in here.
        calls: every call, by verb and size.
    """

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.before: dict[str, int] = {}
        self.after: dict[str, int] = {}
        self.locked: list[str] = []
        self.calls: list[tuple[str, int]] = []
        self.error: Callable[[], StoreError] = lambda: StoreUnavailable("cut")

    async def settle(self, settlements):
        return await self._faulty("settle", self._settle, settlements)

    async def _settle(self, settlements):
        busy = [each.receipt.id in self.locked for each in settlements]
        for each in settlements:
            if each.receipt.id in self.locked:
                self.locked.remove(each.receipt.id)
        free = [each for each, is_busy in zip(settlements, busy, strict=True) if not is_busy]
        replies = iter(await super().settle(free))
        return [Settled(SettleStatus.BUSY) if is_busy else next(replies) for is_busy in busy]

    async def extend(self, extensions):
        return await self._faulty("extend", super().extend, extensions)

    async def fetch(self, queues, *, limit, wait_ms, worker):
        if self.before.get("fetch", 0) > 0:
            self.before["fetch"] -= 1
            raise self.error()
        return await super().fetch(queues, limit=limit, wait_ms=wait_ms, worker=worker)

    def sibling(self):
        return self  # the tests of it run in one loop

    async def _faulty(self, verb: str, call: Callable[[Any], Any], batch: Any) -> Any:
        self.calls.append((verb, len(batch)))
        if self.before.get(verb, 0) > 0:
            self.before[verb] -= 1
            raise self.error()
        reply = await call(batch)
        if self.after.get(verb, 0) > 0:
            self.after[verb] -= 1
            raise self.error()
        return reply

"""Clearing away what is over, putting back what has lost its place, and telling what is lost.

Rule of this module: it leases nothing and settles nothing; what it finds goes on by itself.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from stem_core.plugin import Loss, Losses
from stem_redis.epoch import Epoch
from stem_redis.handle import RedisHandle
from stem_redis.taking import Taken

__all__ = ["Sweeper"]

_log = logging.getLogger("stem.redis")

_EVERY_MS: Final = 1_000
_GO_ON: Final = 5
"""After something was put back, so many sweeps that put back nothing follow at once."""

_ON_END: Final = 50
"""Then whoever sweeps looks for work again, and may go on after that."""


class Sweeper:
    """Sweeps the namespace of one broker, when that one asks whether it is time.

    Attributes:
        losses: who is told of what is lost.
    """

    def __init__(self, handle: RedisHandle) -> None:
        self.losses: Final = Losses()
        self._handle: Final = handle
        self._epoch: Final = Epoch(handle.store.clock, handle.store.facts)
        self._at_ms = 0
        self._hurry = 0  # how many sweeps are to follow each other at once

    async def sweep(self) -> None:
        """Sweep when it is time. Where that puts messages back there are mostly more, and a worker
        has nothing better to do than to go on; in between it takes what is back."""
        now_ms = self._handle.store.clock.monotonic_ms()
        if now_ms < self._at_ms:
            return
        self._at_ms = now_ms + _EVERY_MS
        back: list[bytes] = []
        try:
            is_more = await self._swept(back)
        finally:  # what is back is back, also if the server is away then
            if back:
                self._tell_back(back)
        if self._hurry:
            self._at_ms = now_ms
        if is_more:
            await self._handle.clear_away()

    async def _swept(self, back: list[bytes]) -> bool:
        """Sweep, again and again while that puts something *back*; say whether there is more that
        has expired."""
        put_back: list[bytes]
        is_more = False
        hurry, self._hurry = self._hurry, 0
        for _ in range(_ON_END):
            epoch, more, *put_back = await self._handle.run(
                "sweep", *self._handle.homes, int(hurry > 0)
            )
            if self._epoch.is_over(epoch):
                await self._mourn_all()
            is_more = is_more or bool(more)
            back += put_back
            hurry = _GO_ON if put_back else max(0, hurry - 1)
            if not hurry:
                break
        self._hurry = hurry
        return is_more

    def mourn(self, taken: Taken) -> None:
        """Tell of messages that a look did not find, or found overwritten."""
        for ids, what in (
            (taken.vanished, "stood in a queue and are gone, deleted by somebody else"),
            (taken.damaged, "were overwritten by somebody else, and go on as far as they can"),
        ):
            if ids:
                self._tell(f"%s: %d messages {what}: %s", ids)
        if taken.vanished:
            self.losses.tell(Loss.MESSAGES, len(taken.vanished))

    def _tell_back(self, ids: Sequence[bytes]) -> None:
        self._tell(
            "%s: %d messages stood in no queue and are back in theirs; somebody else "
            "deleted a key: %s",
            [id.decode(errors="replace") for id in ids],
        )

    def _tell(self, text: str, ids: Sequence[str]) -> None:
        _log.error(text, self._handle.store.location.shown, len(ids), ", ".join(ids[:10]))

    async def _mourn_all(self) -> None:
        self.losses.tell(Loss.EVERYTHING)
        store = self._handle.store
        _log.error(
            "%s %s: what waited in the namespace %s is lost, with all that was remembered there; "
            "new tasks run as before",
            store.location.shown,
            await self._epoch.cause(self._handle.enter()),
            store.namespace,
        )

"""Finding out that a store has lost its data, by a mark that it keeps beside them.

Sweeps make the mark and bring it along: another one, or a new one, stands there only if all
keys were deleted in between. A server that kept its data has kept the mark with them, and so
has a replica that takes over.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from stem_core.plugin import Clock, StoreError
from stem_redis.connection import Server
from stem_redis.facts import Facts, facts_of

__all__ = ["Epoch"]

_EMPTIED: Final = "was emptied while it ran (FLUSHALL or FLUSHDB)"
_CAME_BACK: Final = "came back without its data"
_LOST: Final = "has lost its data: it was emptied, or came back without them"


class Epoch:
    """The mark as one handle knows it."""

    def __init__(self, clock: Clock, facts: Facts) -> None:
        self._clock = clock
        # Who accepts that keys are thrown away cannot tell what a missing one means.
        self._is_sure = not facts.evicts
        self._mark = b""
        self._seen_ms = 0

    def is_over(self, mark: bytes) -> bool:
        """Take note of *mark*; True if the data that the handle knew are lost."""
        known, self._mark = self._mark, mark
        if not known or known == mark:
            self._seen_ms = self._clock.monotonic_ms()
            return False
        return self._is_sure

    async def cause(self, server: Server) -> str:
        """Say what has happened to the server since the old mark was seen, as far as it tells."""
        silent_ms = self._clock.monotonic_ms() - self._seen_ms
        self._seen_ms += silent_ms
        with suppress(StoreError):
            info = (await server.command("INFO", "server")).decode()
            uptime_ms = facts_of(info, "").uptime_s * 1000
            return _CAME_BACK if uptime_ms <= silent_ms + 1000 else _EMPTIED
        return _LOST

"""The log of messages that were refused for their signatures: one line a second for each reason.

Rule of this module: whoever can write to the broker decides how many there are and what
stands in them, so nothing in here grows with either.
"""

from __future__ import annotations

import logging
from typing import Final

from stem_core.contracts.clock import Clock
from stem_core.contracts.messages import Message
from stem_core.model.errors import SignatureError

__all__ = ["Refusals"]

_log = logging.getLogger("stem.worker")

_EVERY_MS: Final = 1_000
_MOST_REASONS: Final = 32
_OTHERS: Final = "for other reasons"


class Refusals:
    """Counts what was refused, and says so now and then."""

    def __init__(self, clock: Clock) -> None:
        self._monotonic_ms = clock.monotonic_ms
        self._untold: dict[str, int] = {}
        self._next_ms: dict[str, float] = {}

    def note(self, error: SignatureError, message: Message) -> None:
        """Take note that *message* was refused because of *error*."""
        reason = error.why or error.code
        if reason not in self._next_ms and len(self._next_ms) >= _MOST_REASONS:
            reason = _OTHERS  # a signer of somebody else may put anything into `why`
        now_ms = self._monotonic_ms()
        if now_ms < self._next_ms.get(reason, 0):
            self._untold[reason] = self._untold.get(reason, 0) + 1
            return
        self._next_ms[reason] = now_ms + _EVERY_MS
        more = self._untold.pop(reason, 0)
        _log.error(
            "refused for its signature (%s): task %.128r in queue %.128r claims the id %.128r "
            "and the key %.128r; it lies in the dead letters%s",
            reason[:64],
            message.task,
            message.queue,
            message.id,
            message.key_id,
            f"; {more:,} more since the last line like this" if more else "",
        )

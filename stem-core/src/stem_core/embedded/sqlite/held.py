"""A message as a step finds it that somebody holds, or held: what it takes to decide.

Rule of this module: it decides whose a lease is, and writes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from stem_core.contracts.messages import Receipt, Settled, SettleStatus
from stem_core.embedded.sqlite.rows import DEAD, ENDED
from stem_core.embedded.sqlite.transaction import Reading

__all__ = ["Held", "held_rows", "refusal"]

_ALREADY: Final = Settled(SettleStatus.ALREADY)
_STALE: Final = Settled(SettleStatus.STALE)
_GONE: Final = Settled(SettleStatus.GONE)


class Held(NamedTuple):
    """A row of `settle.rows`."""

    id: str
    seq: int
    queue: str
    place: int
    due_ms: int | None
    fence: int
    settled: int
    failed: int
    errors: int
    first_parked_ms: int | None
    unique_key: str | None
    cancel_reason: str | None

    def is_mine(self, receipt: Receipt) -> bool:
        """True while *receipt* is its last lease, unsettled; lapsed or not."""
        return (
            self.fence == receipt.fence and self.settled < receipt.fence and self.place not in _OVER
        )

    def is_forgotten(self, now_ms: int) -> bool:
        """True when it has ended, or is a dead letter whose time is over, swept or not."""
        return self.place == ENDED or (
            self.place == DEAD and self.due_ms is not None and self.due_ms <= now_ms
        )

    def is_known(self, now_ms: int) -> bool:
        """False once nobody needs to remember its id any more."""
        return self.place != ENDED or self.due_ms is None or self.due_ms > now_ms


_OVER: Final = (DEAD, ENDED)


def held_rows(txn: Reading, ids: Sequence[str]) -> Mapping[str, Held]:
    """Return what there is of *ids*, by id."""
    return {row[0]: Held._make(row) for row in txn.among("settle.rows", ids)}


def refusal(held: Held | None, receipt: Receipt, now_ms: int) -> Settled:
    """Say why *receipt* settles nothing."""
    if held is None or not held.is_known(now_ms):
        return _GONE
    return _ALREADY if held.settled == receipt.fence > 0 else _STALE

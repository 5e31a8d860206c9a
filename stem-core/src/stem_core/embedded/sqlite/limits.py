"""Rate and concurrency limits of a SQLite store.

A rate is exact: in no window of *per_ms* are there more than *rate* starts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from stem_core.contracts.limits import Limit, LimitDecision, LimitStore
from stem_core.embedded.sqlite.handle import SqliteHandle
from stem_core.embedded.sqlite.transaction import Writing

__all__ = ["SqliteLimits"]

_ASK_AGAIN_MS: Final = 250
"""A concurrent unit may be given back at any time, long before its lease ends."""


class SqliteLimits(LimitStore):
    """The limits of one handle's store."""

    def __init__(self, handle: SqliteHandle) -> None:
        self._handle = handle

    async def acquire(
        self, limits: Sequence[Limit], *, holder: str, lease_ms: int
    ) -> LimitDecision:
        return await self._handle.enter().write(_acquire, limits, holder, lease_ms)

    async def give_back(self, limits: Sequence[Limit], *, holder: str) -> None:
        await self._handle.enter().write(_give_back, limits, holder)


def _acquire(txn: Writing, limits: Sequence[Limit], holder: str, lease_ms: int) -> LimitDecision:
    wanted = list({limit.key: limit for limit in limits}.values())
    wait_ms = max((_wait_ms(txn, limit, holder) for limit in wanted), default=0)
    if wait_ms:
        return LimitDecision(False, wait_ms)
    for limit in wanted:
        _take(txn, limit, holder, lease_ms)
    return LimitDecision(True)


def _wait_ms(txn: Writing, limit: Limit, holder: str) -> int:
    """Return how long *holder* must wait for one unit; 0 when it is free."""
    wait_ms = 0
    if limit.rate:
        wait_ms = _wait_for_rate_ms(txn, limit)
    if limit.concurrent:
        holders: dict[str, int] = dict(txn.all("companions.holders", limit.key, txn.now_ms))
        if holder not in holders and len(holders) >= limit.concurrent:
            soonest_ms = min(holders.values()) - txn.now_ms
            wait_ms = max(wait_ms, min(soonest_ms, _ASK_AGAIN_MS))
    return wait_ms


def _wait_for_rate_ms(txn: Writing, limit: Limit) -> int:
    since_ms = txn.now_ms - limit.per_ms
    counted = txn.one("companions.starts", limit.key, since_ms)
    if counted is None or counted[0] < limit.rate:
        return 0
    frees = txn.one("companions.start_that_frees", limit.key, limit.rate - 1)
    return int(frees[0]) + limit.per_ms - txn.now_ms if frees is not None else 0


def _take(txn: Writing, limit: Limit, holder: str, lease_ms: int) -> None:
    """Take one unit, which is free."""
    if limit.rate:
        txn.do("companions.start", limit.key, txn.now_ms, txn.now_ms + limit.per_ms)
    if limit.concurrent:
        txn.do("companions.hold", limit.key, holder, txn.now_ms + lease_ms)


def _give_back(txn: Writing, limits: Sequence[Limit], holder: str) -> None:
    for limit in limits:
        txn.do("companions.give_back", limit.key, holder)

"""Shared rate and concurrency limits. A rate is exact: no window has more starts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from stem_core.plugin import Limit, LimitDecision, LimitStore

if TYPE_CHECKING:
    from stem_postgres.broker import PostgresBroker

__all__ = ["PostgresLimits"]


class PostgresLimits(LimitStore):
    """The limits of one handle's store."""

    def __init__(self, broker: PostgresBroker) -> None:
        self._broker = broker

    async def acquire(
        self, limits: Sequence[Limit], *, holder: str, lease_ms: int
    ) -> LimitDecision:
        wanted = list({limit.key: limit for limit in limits}.values())
        if not wanted:
            return LimitDecision(True)
        ((wait_ms,),) = await self._broker.call(
            "calls.acquire",
            holder,
            lease_ms,
            [limit.key for limit in wanted],
            [limit.rate for limit in wanted],
            [limit.per_ms for limit in wanted],
            [limit.concurrent for limit in wanted],
        )
        return LimitDecision(wait_ms == 0, wait_ms)

    async def give_back(self, limits: Sequence[Limit], *, holder: str) -> None:
        keys = [limit.key for limit in limits]
        await self._broker.run("companions.give_back", (self._broker.store.ns, keys, holder))

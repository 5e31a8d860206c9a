"""Shared rate and concurrency limits. A rate is exact: no window has more starts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from stem_core.plugin import Limit, LimitDecision, LimitStore
from stem_redis.line import Arg

if TYPE_CHECKING:
    from stem_redis.broker import RedisStreamsBroker

__all__ = ["RedisLimits"]


class RedisLimits(LimitStore):
    """The limits of one handle's store."""

    def __init__(self, broker: RedisStreamsBroker) -> None:
        self._broker = broker

    async def acquire(
        self, limits: Sequence[Limit], *, holder: str, lease_ms: int
    ) -> LimitDecision:
        args: list[Arg] = []
        for limit in {limit.key: limit for limit in limits}.values():
            args += (limit.key, limit.rate, limit.per_ms, limit.concurrent)
        wait_ms = await self._broker.run("acquire", holder, lease_ms, *args)
        return LimitDecision(wait_ms == 0, wait_ms)

    async def give_back(self, limits: Sequence[Limit], *, holder: str) -> None:
        await self._broker.run("give_back", holder, *(limit.key for limit in limits))

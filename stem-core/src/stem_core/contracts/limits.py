"""Shared rate and concurrency limits, kept at the broker's store."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from stem_core.model.value import Value

__all__ = ["Limit", "LimitDecision", "LimitStore"]


class Limit(Value, frozen=True, gc=False, kw_only=True):
    """At most *rate* starts per *per_ms*, and at most *concurrent* at once; 0 for no bound."""

    key: str
    rate: int = 0
    per_ms: int = 1000
    concurrent: int = 0


class LimitDecision(Value, frozen=True, gc=False):
    """*granted*, or ask again after *retry_after_ms*."""

    granted: bool
    retry_after_ms: int = 0


class LimitStore(ABC):
    """Decides together for all workers of a namespace."""

    @abstractmethod
    async def acquire(
        self, limits: Sequence[Limit], *, holder: str, lease_ms: int
    ) -> LimitDecision:
        """Take one unit of every limit, or of none.

        [LIMIT-1] All or nothing, in one step, by the store's clock.
        [LIMIT-2] A concurrent unit that is not given back ends after *lease_ms*.
        """

    @abstractmethod
    async def give_back(self, limits: Sequence[Limit], *, holder: str) -> None:
        """Free the concurrent units of *holder*. [LIMIT-3] Idempotent."""

"""The broker as an operator's command uses it: shared, able, and asked with patience.

Rule of this module: it opens, refuses and asks. What to ask, and what an answer
means, is the business of the commands.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal, TypeVar

from attrs import frozen

from stem_core.cli.failures import nearest, warn
from stem_core.cli.stores import open_stem, refuse_private
from stem_core.contracts.admin import BrokerAdmin, QueueStats
from stem_core.model.errors import CapabilityMissing
from stem_core.producer.client import Stem
from stem_core.producer.lane import Lane
from stem_core.producer.patience import UNDONE, Patience

__all__ = ["Operations", "open_operations", "warn_of_unknown"]

A = TypeVar("A")
T = TypeVar("T")


@frozen(kw_only=True)
class Operations:
    """One broker, its backend, and how long they are asked.

    Attributes:
        stem: whose settings and clock are used.
        lane: the broker and the backend.
        patience: how long a store that is away is asked again.
    """

    stem: Stem
    lane: Lane
    patience: Patience

    @property
    def admin(self) -> BrokerAdmin:
        """The operators' view of the broker.

        Raises:
            CapabilityMissing: this broker has none.
        """
        admin = self.lane.broker.admin
        if admin is None:
            raise CapabilityMissing(
                f"{self.lane.at} offers operators nothing: it cannot list, pause, replay or purge",
                way_out="Use the tools of the store itself; `stem plugins show` says what a "
                "broker can do.",
            )
        return admin

    def need(self, capability: Literal["dead_letters", "pause"]) -> BrokerAdmin:
        """Return the operators' view of a broker that has *capability*, or raise."""
        admin = self.admin
        if not getattr(self.lane.capabilities, capability):
            raise CapabilityMissing(
                f"this asks for the capability {capability!r}, which {self.lane.at} does not have"
            )
        return admin

    @property
    def most(self) -> int:
        """How many items one call may hold."""
        return self.lane.capabilities.max_batch

    def now_ms(self) -> int:
        """Return the time of the day."""
        return self.stem.clock.wall_ms()

    async def ask(self, verb: Callable[[A], Coroutine[Any, Any, T]], about: A) -> T:
        """Return the answer to a question, or of a verb that may be sent twice."""
        return await self.patience.insist(verb, about, at=self.lane.at)

    async def tell(self, verb: Callable[[A], Coroutine[Any, Any, T]], about: A) -> T:
        """Return the answer of a verb that is not sent again when its reply was lost.

        A second reply would speak of what the first call had done as done before.
        """
        return await self.patience.insist(verb, about, at=self.lane.at, passing=UNDONE)


@asynccontextmanager
async def open_operations(app: str | None) -> AsyncIterator[Operations]:
    """Give the broker of *app*, or else of the environment, and close it at the end.

    Raises:
        ConfigError: no other process sees what is in it.
    """
    async with open_stem(app) as stem:
        lane = await stem.lane()
        in_vain = "it holds no task of any other process"
        refuse_private(lane.broker, "broker", at=lane.at, in_vain=in_vain)
        deadline_ms = stem.config.publish_deadline_ms
        patience = Patience(deadline_ms=deadline_ms, clock=stem.clock, dice=stem.dice)
        yield Operations(stem=stem, lane=lane, patience=patience)


async def warn_of_unknown(operations: Operations, queues: Sequence[str]) -> None:
    """Warn of each of *queues* that the broker has never seen: it may be a typing mistake."""
    stats: Sequence[QueueStats] = await operations.ask(operations.admin.stats, ())
    known = [each.queue for each in stats]
    for queue in queues:
        if queue not in known:
            hint = nearest(queue, known)
            warn(f"nothing was ever in a queue {queue!r} here\n  {hint}".rstrip())

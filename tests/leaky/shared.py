"""``leakyfile:///tasks.db?bug=two-steps``: a file that processes share, a broker with a bug.

Each bug is one that a single process never shows: it takes a kill or a freeze at the right
moment. It is registered where its module is named: ``STEM_PLUGINS=leaky.shared``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from attrs import frozen

from stem_core.contracts.messages import (
    Delivery,
    Message,
    Published,
    Settled,
    Settlement,
    SettleStatus,
)
from stem_core.embedded.sqlite.broker import SqliteBroker
from stem_core.model.value import replace
from stem_core.plugin import BrokerSpec, PluginContext, StemURL, hookimpl

STEM_PLUGIN_API = (1, 0)

_GAP_S: Final = 0.05
"""Between two steps that should be one: a kill that is aimed at both meets it."""


class AckAtFetch(SqliteBroker):
    """What is taken is ended at once: a worker that dies takes it along."""

    async def fetch(self, queues: Sequence[str], **how: Any) -> Sequence[Delivery]:
        taken = await super().fetch(queues, **how)
        await super().settle([Settlement(receipt=each.receipt) for each in taken])
        return taken

    async def settle(self, settlements: Sequence[Settlement]) -> Sequence[Settled]:
        await self.publish([message for each in settlements for message in each.follow_ups])
        return [Settled(SettleStatus.DONE) for _ in settlements]


class TwoSteps(SqliteBroker):
    """Follow-ups are published when the settlement is done: a kill comes between."""

    async def settle(self, settlements: Sequence[Settlement]) -> Sequence[Settled]:
        replies = await super().settle([replace(each, follow_ups=()) for each in settlements])
        await asyncio.sleep(_GAP_S)
        await self.publish([message for each in settlements for message in each.follow_ups])
        return replies


class OneByOne(SqliteBroker):
    """Each message of a call is written by itself: a kill leaves half of the call."""

    async def publish(self, messages: Sequence[Message]) -> Sequence[Published]:
        replies: list[Published] = []
        for message in messages:
            replies += await super().publish([message])
            await asyncio.sleep(_GAP_S)
        return replies


class NoFence(SqliteBroker):
    """Whoever settles a message settles it, whosever lease it is."""

    async def settle(self, settlements: Sequence[Settlement]) -> Sequence[Settled]:
        found = await self.lookup([each.receipt.id for each in settlements])
        pairs = zip(settlements, found, strict=True)
        return await super().settle(
            [
                replace(each, receipt=replace(each.receipt, fence=where.fence)) if where else each
                for each, where in pairs
            ]
        )


class NeverLapses(SqliteBroker):
    """A lease lasts until it is settled: what a dead worker held is held for ever."""

    async def publish(self, messages: Sequence[Message]) -> Sequence[Published]:
        return await super().publish([replace(each, lease_ms=10**9) for each in messages])


BUGS: Final[dict[str, type[SqliteBroker]]] = {
    "": SqliteBroker,
    "ack-at-fetch": AckAtFetch,
    "two-steps": TwoSteps,
    "one-by-one": OneByOne,
    "no-fence": NoFence,
    "never-lapses": NeverLapses,
}


@frozen(kw_only=True)
class LeakyFileOptions:
    """Options of ``leakyfile://``: the name of one bug, or none for a sound broker."""

    bug: str = ""


class LeakyFile:
    """Opens a broker with the bug that its URL names."""

    @classmethod
    async def open(
        cls, url: StemURL, options: LeakyFileOptions, context: PluginContext
    ) -> SqliteBroker:
        """Open *url* for Stem."""
        return await BUGS[options.bug].open(url, None, context)


@hookimpl
def stem_register_brokers() -> Sequence[Any]:
    """The broker that nobody should share."""
    return [
        BrokerSpec(
            schemes=("leakyfile",),
            factory="leaky.shared:LeakyFile",
            options="leaky.shared:LeakyFileOptions",
            summary="a file with a broker that is broken on purpose, to prove the kit",
            examples=("leakyfile:///tasks.db", "leakyfile:///tasks.db?bug=no-fence"),
        )
    ]

"""Deliveries of which a worker hears late: which of them are its own still?

While tasks block the event loop, nobody renews the leases that are on their way to it. What has
lapsed meanwhile somebody else may be at. Rule of this module: nothing is run of which that is not
known, but for leases shorter than a call, and nothing is kept from others by a worker that ends.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from stem_core.contracts.broker import Broker
from stem_core.contracts.clock import Clock
from stem_core.contracts.messages import (
    Delivery,
    Extended,
    ExtendStatus,
    Extension,
    Release,
    ReleaseWhy,
    Settlement,
)
from stem_core.model.errors import StoreError
from stem_core.model.value import replace

__all__ = ["still_ours"]

_log = logging.getLogger("stem.worker")

_TRIES: Final = 3
"""So often the answer may come too late as well; a lease that is shorter than a call is run."""

_FAREWELL_S: Final = 2.0
_HANDED_BACK: Final = Release(0, ReleaseWhy.SHUTDOWN)


async def still_ours(
    broker: Broker, deliveries: Sequence[Delivery], asked_ms: int, clock: Clock
) -> Sequence[Delivery]:
    """Return those of *deliveries*, asked for at *asked_ms* of the monotonic clock, that are ours.

    Where no more than half of a lease has passed, all are, and nothing is asked. A cancelled
    call hands them back.

    Raises:
        StoreError: the store does not say; they are left to their leases.
    """
    for _ in range(_TRIES):
        now_ms = clock.monotonic_ms()
        shortest_ms = min([each.lease_ms for each in deliveries], default=math.inf)
        if now_ms - asked_ms <= shortest_ms / 2:
            break
        held = await _renewed(broker, deliveries)
        if lost := len(deliveries) - len(held):
            _log.warning(
                "%d of %d tasks are left to others: the event loop heard of them %d ms after it "
                "asked, and their leases had lapsed",
                *(lost, len(deliveries), clock.monotonic_ms() - asked_ms),
            )
        asked_ms, deliveries = now_ms, held
    return deliveries


async def _renewed(broker: Broker, deliveries: Sequence[Delivery]) -> list[Delivery]:
    most, held = broker.capabilities.max_batch, list[Delivery]()
    try:
        for start in range(0, len(deliveries), most):
            some = deliveries[start : start + most]
            replies = await broker.extend(
                [Extension(each.receipt, each.message.lease_ms) for each in some]
            )
            held += [
                _as_it_is_now(each, reply)
                for each, reply in zip(some, replies, strict=True)
                if reply.status is not ExtendStatus.LOST and reply.remaining_ms > 0
            ]
    except asyncio.CancelledError:
        with suppress(StoreError, TimeoutError):
            async with asyncio.timeout(_FAREWELL_S):
                await _hand_back(broker, deliveries)
        raise
    return held


def _as_it_is_now(delivery: Delivery, reply: Extended) -> Delivery:
    return replace(
        delivery,
        lease_ms=reply.remaining_ms,
        cancel_requested=delivery.cancel_requested or reply.status is ExtendStatus.CANCEL_REQUESTED,
        cancel_reason=reply.cancel_reason or delivery.cancel_reason,
    )


async def _hand_back(broker: Broker, deliveries: Sequence[Delivery]) -> None:
    """Hand back those of *deliveries* that are ours: the fences tell."""
    most = broker.capabilities.max_batch
    for start in range(0, len(deliveries), most):
        some = deliveries[start : start + most]
        await broker.settle([Settlement(receipt=d.receipt, outcome=_HANDED_BACK) for d in some])

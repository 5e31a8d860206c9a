"""Running what is ready and nothing more: for tests, cron jobs and shells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stem_core.contracts.broker import Broker
from stem_core.contracts.observer import Observer
from stem_core.producer.client import Stem
from stem_core.worker.shift import Shift
from stem_core.worker.worker import Worker

__all__ = ["burst"]


async def burst(
    stem: Stem,
    queues: str | Sequence[str] | Mapping[str, int] | None = None,
    *,
    observers: Sequence[Observer] = (),
) -> int:
    """Run what is ready, and what that enqueues in turn; return how many deliveries were taken.

    Without *queues* it serves every queue that the broker knows of. What is delayed,
    waits for a retry or is parked stays where it is. *observers* are told what happens.

    Raises:
        StoreError: the broker cannot be reached.
    """
    lane = await stem.lane()
    worker = Worker(stem, queues=queues, observers=observers)
    known = dict(worker.weights)

    async def served() -> Mapping[str, int]:
        return known if queues is not None else {**known, **await _all_queues(lane.broker)}

    return await Shift(stem, lane, worker.terms).serve_until_idle(served)


async def _all_queues(broker: Broker) -> Mapping[str, int]:
    if broker.admin is None:
        return {}
    return {stats.queue: 1 for stats in await broker.admin.stats()}

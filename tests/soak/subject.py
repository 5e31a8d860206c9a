"""The process that a long run is about: ``python -m soak.subject URL TASKS [follow-ups]``.

It is producer and worker in one, so what either of them leaks shows. A line of JSON for
each sample goes to standard output, and one for what the store still holds at the end.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final

from attrs import asdict
from soak.figures import Sample
from soak.workload import calls, tasks

from stem_core import Stem, Worker
from stem_core.contracts.messages import Receipt, Settlement
from stem_core.contracts.observer import Event
from stem_core.model.settings import StemConfig
from stem_core.worker.isolation.birth import rss

_ROUNDS: Final = 50
_WARM_UP: Final = 50_000
"""How many tasks run before the first sample: pools, caches and arenas are filled there."""

_BATCH: Final = 500
_ALIKE: Final = 10
_LOOKS: Final = 100
_LOOK_S: Final = 0.02
_LAST_WAIT_S: Final = 60.0
_LAST_WAIT_FOLLOW_UPS_S: Final = 660.0
_ENDS: Final = ("task-succeeded", "task-failed", "task-cancelled")

_SHORT: Final = {
    # The windows in which a store remembers: a steady state is reached within seconds.
    "STEM_RESULT_TTL": "2s",
    "STEM_FAILURE_TTL": "2s",
    "STEM_DEAD_LETTER_TTL": "2s",
    "STEM_PUBLISH_DEADLINE": "1s",
    # Few enough to be all in use soon: they are made when a call finds the others busy.
    "STEM_WORKER_THREADS": "2",
}


class Ends:
    """An observer that counts what has ended for good, and can wait for so many."""

    def __init__(self) -> None:
        self.count = 0
        self._wanted = 0
        self._reached = asyncio.Event()

    def on_event(self, event: Event, /) -> None:
        """Count *event*, if it is an end."""
        if event.name in _ENDS:
            self.count += 1
            if self.count >= self._wanted:
                self._reached.set()

    async def wait_for(self, count: int) -> None:
        """Return when *count* have ended."""
        self._wanted = count
        self._reached.clear()
        if self.count < count:
            await self._reached.wait()


async def soak(url: str, count: int, *, follow_ups: bool = False) -> None:
    """Let *count* tasks run on the store at *url*, in rounds, and tell of each. Some run
    before, of which nothing is told."""
    config = StemConfig.from_environment({"STEM_BROKER_URL": url, **_SHORT})
    ends = Ends()
    wait_s = _LAST_WAIT_FOLLOW_UPS_S if follow_ups else _LAST_WAIT_S
    async with Stem(config=config) as stem:
        stem.include(tasks)
        async with Worker(stem, observers=[ends]):
            for part in _rounds(0, _WARM_UP):
                await _round(stem, ends, part, follow_ups)
            for part in _rounds(_WARM_UP, count):
                await _round(stem, ends, part, follow_ups)
                print(json.dumps(asdict(await _sample(ends.count))), flush=True)
            print(json.dumps({"kept": await _kept_at_last(stem, url, wait_s)}), flush=True)


def _rounds(first: int, count: int) -> Iterator[tuple[int, int]]:
    size, last = max(1, count // _ROUNDS), first + count
    return ((each, min(size, last - each)) for each in range(first, last, size))


async def _round(stem: Stem, ends: Ends, part: tuple[int, int], follow_ups: bool) -> None:
    sent = calls(*part, follow_ups=follow_ups)
    while batch := list(islice(sent, _BATCH)):
        await stem.enqueue_many(batch)
        await asyncio.sleep(0)
    await ends.wait_for(sum(part))
    await asyncio.sleep(0.05)  # the settlements of the last ones, and what they woke


async def _sample(count: int) -> Sample:
    gc.collect()
    at_rest = await _tasks_at_rest()
    return Sample(
        tasks=count,
        rss=rss(),
        descriptors=len(os.listdir("/proc/self/fd")),
        threads=threading.active_count(),
        asyncio_tasks=at_rest,
        objects=len(gc.get_objects()),
    )


async def _tasks_at_rest() -> int:
    """Return how many asyncio tasks there are, once that is the same for some looks in a row.

    Tasks that come and go are no leak, and a worker that falls asleep starts two that stay.
    """
    seen: deque[int] = deque(maxlen=_ALIKE)
    for _ in range(_LOOKS):
        await asyncio.sleep(_LOOK_S)
        seen.append(len(asyncio.all_tasks()))
        if len(seen) == _ALIKE and len(set(seen)) == 1:
            break
    return min(seen)


async def _kept_at_last(stem: Stem, url: str, wait_s: float) -> Sequence[str]:
    """Return what the store still holds once all its windows have passed; at best nothing."""
    kept: Sequence[str] = ()
    broker = (await stem.lane()).broker
    for _ in range(int(wait_s)):
        # A store may sweep when it writes: it gets a chance to, though nothing happens any more.
        await broker.settle([Settlement(receipt=Receipt("nobody", "default", 1))])
        kept = await _kept(stem, url)
        if not kept:
            break
        await asyncio.sleep(1)
    return list(kept)[:20]


async def _kept(stem: Stem, url: str) -> Sequence[str]:
    broker: Any = (await stem.lane()).broker
    match url.partition(":")[0]:
        case "memory":
            from conformance.test_memory import kept_in

            return kept_in(broker.store)
        case "sqlite":
            from conformance.test_sqlite import kept_in as kept_in_file

            return kept_in_file(Path(url.partition("///")[2]))
        case "redis":
            from conformance.test_redis import kept_by

            # A queue where a worker sleeps keeps its name and one wake, until that has gone.
            kept = await kept_by(broker)
            return [name for name in kept if name != "queues" and not name.startswith("w:")]
        case "postgresql":
            from conformance.test_postgres import kept_by as kept_by_server

            return await kept_by_server(broker)
        case _:
            raise SystemExit(f"nobody knows how to look into {url}")


if __name__ == "__main__":
    asyncio.run(soak(sys.argv[1], int(sys.argv[2]), follow_ups="follow-ups" in sys.argv[3:]))

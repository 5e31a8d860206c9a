"""The last thing that a worker does whose loop is blocked for good: it lets go of its work.

The loop can settle nothing any more, so another thread does, with handles of its own. What
had not finished is handed back, what had is settled as it came out. Rule of this module: it
reads runs and changes none; if the loop turns after all, whatever it settles is stale or
done already.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Final

from attrs import frozen

from stem_core.contracts.backend import ResultBackend
from stem_core.contracts.broker import Broker
from stem_core.contracts.clock import Clock, Dice
from stem_core.contracts.messages import ReleaseWhy, Settlement, SettleStatus
from stem_core.model.errors import SoftTimeLimitExceeded, StoreError
from stem_core.model.outcome import TaskError
from stem_core.model.retry import names_of
from stem_core.producer.lane import Lane
from stem_core.worker.backoff import Backoff
from stem_core.worker.decide import Books, decide
from stem_core.worker.exits import STUCK
from stem_core.worker.leaving import aside
from stem_core.worker.outcomes import Cause, Failed, Handed
from stem_core.worker.run import Run
from stem_core.worker.settler import Settler

__all__ = ["last_wills", "let_go"]

_log = logging.getLogger("stem.worker")

_PATIENCE_S: Final = 5.0
"""How long a store may take to hear it."""

_FAREWELL_S: Final = 1.0
_LOOK_S: Final = 0.01


@frozen
class _Store:
    """The stores of a lane, through handles of our own."""

    broker: Broker
    backend: ResultBackend | None
    atomic: bool


def let_go(
    runs: Sequence[Run], culprit: Run | None, lane: Lane, books: Books, clock: Clock, dice: Dice
) -> None:
    """Hand back or settle *runs*, which a loop holds that *culprit* blocks for good, and say so.

    Whatever is not settled within five seconds is left to its lease. Raises nothing: who
    calls this ends its process next.
    """
    count = 0
    try:
        _end_elsewhere(runs)
        wills = [*last_wills(runs, culprit, books, now_ms=clock.wall_ms(), roll=dice.roll())]
        count = asyncio.run(_handed_over(wills, lane, books, clock, dice)) if wills else 0
    except Exception as error:
        aside(partial(_log.error, "nothing could be handed back: %s", error))
    aside(partial(_say_farewell, count, len(runs)))


def _say_farewell(count: int, held: int) -> None:
    _log.critical(
        "the event loop is blocked for good; %d of %d deliveries were handed back or settled, "
        "and this worker ends with exit code %d",
        count,
        held,
        STUCK,
        extra={"stem_facts": {"event": "worker-stalled", "exit_code": STUCK}},
    )


def last_wills(
    runs: Iterable[Run], culprit: Run | None, books: Books, *, now_ms: int, roll: float
) -> Iterator[Run]:
    """Yield a copy of each of *runs* with what is to be settled for it.

    The *culprit* is left to its lease: handed back it would block one worker after the
    other and no one would count. With a hard time limit that is over it has failed.
    """
    for run in runs:
        settlement = run.settlement or _will(run, culprit, books, now_ms, roll)
        if settlement is not None and run.cause is not Cause.LEASE_LOST:
            yield _copy(run, settlement)


def _will(
    run: Run, culprit: Run | None, books: Books, now_ms: int, roll: float
) -> Settlement | None:
    if run is not culprit:
        return decide(Handed(ReleaseWhy.SHUTDOWN), run, books, now_ms=now_ms, roll=roll)
    hard_ms = None if run.plan is None else run.plan.effective.hard_limit_ms
    if hard_ms is None or now_ms < run.started_ms + hard_ms:
        return None
    return decide(_timed_out(run, now_ms), run, books, now_ms=now_ms, roll=roll)


def _timed_out(run: Run, now_ms: int) -> Failed:
    text = "the hard time limit is over, and the task blocks the event loop"
    names = names_of(SoftTimeLimitExceeded)
    error = TaskError(type=names[0], message=text, attempt=run.delivery.attempt, at_ms=now_ms)
    return Failed(error=error, error_names=names, timed_out=True)


def _copy(run: Run, settlement: Settlement) -> Run:
    copy = Run(run.delivery, run.outlet, 0)
    copy.plan, copy.settlement = run.plan, settlement
    copy.is_sent_again = run.settlement is not None  # the loop may have sent it, unanswered
    copy.is_saved, copy.unsaved = run.is_saved, run.unsaved
    copy.is_gone, copy.fate = run.is_gone, run.fate
    return copy


def _end_elsewhere(runs: Sequence[Run]) -> None:
    """End what does not run in the loop: kill processes, and ask threads, which get a moment."""
    calls = [run.call for run in runs if run.call is not None]
    for call in calls:
        call.interrupt()
    for run in runs:
        if run.elsewhere is not None:
            run.elsewhere.end(Cause.LEASE_LOST, "")
    deadline_s = time.monotonic() + _FAREWELL_S
    while any(call.thread is not None for call in calls) and time.monotonic() < deadline_s:
        time.sleep(_LOOK_S)


async def _handed_over(
    wills: Sequence[Run], lane: Lane, books: Books, clock: Clock, dice: Dice
) -> int:
    backend = None if lane.backend is None else lane.backend.sibling()
    store = _Store(lane.broker.sibling(), backend, lane.atomic)
    settled: list[Run] = []
    all_are = asyncio.Event()

    def note(runs: Sequence[Run], status: SettleStatus) -> None:
        settled.extend(runs)
        if len(settled) >= len(wills):
            all_are.set()

    settler = Settler(store, Backoff(clock, dice), books, note)
    for will in wills:
        settler.add(will)
    settling = asyncio.create_task(settler.run())
    try:
        await asyncio.wait(
            [settling, asyncio.create_task(all_are.wait())],
            timeout=_PATIENCE_S,
            return_when=asyncio.FIRST_COMPLETED,
        )
    finally:
        settling.cancel()
        await _close(store)
    return len(settled)


async def _close(store: _Store) -> None:
    with contextlib.suppress(StoreError, TimeoutError):
        async with asyncio.timeout(_FAREWELL_S):
            await store.broker.aclose()
            if store.backend is not None:
                await store.backend.aclose()

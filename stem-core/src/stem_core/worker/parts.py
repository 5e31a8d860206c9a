"""The parts of a worker's life, made and wired together.

Rule of this module: it constructs. When parts start, stop and talk is `shift`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final, Protocol

from attrs import frozen

from stem_core.contracts.messages import Delivery, ReleaseWhy, SettleStatus
from stem_core.observe.events import Observers
from stem_core.producer.client import Stem
from stem_core.producer.lane import Lane
from stem_core.producer.sealing import sealer
from stem_core.worker.backoff import Backoff
from stem_core.worker.decide import Books
from stem_core.worker.execution import Executor
from stem_core.worker.fetcher import Fetcher
from stem_core.worker.isolation.alone import Alone
from stem_core.worker.isolation.lapses import Lapses
from stem_core.worker.isolation.pool import Children
from stem_core.worker.isolation.wire import Rules
from stem_core.worker.keeper import LeaseKeeper
from stem_core.worker.outcomes import Cause, Handed
from stem_core.worker.plans import Plans
from stem_core.worker.refusals import Refusals
from stem_core.worker.reports import Reports
from stem_core.worker.run import Run
from stem_core.worker.runner import Runner
from stem_core.worker.settler import Settler
from stem_core.worker.sinks import Outbox, Outlet, ProgressBoard
from stem_core.worker.slots import Slots
from stem_core.worker.terms import Terms
from stem_core.worker.threads import Threads
from stem_core.worker.watchdog import Watchdog

__all__ = ["LAST_SETTLE_MS", "Parts", "Told", "a_fetcher", "assemble"]

LAST_SETTLE_MS: Final = 5_000
"""How long a store that is away may hold up the end of a worker."""


class Told(Protocol):
    """Who hears what happens in the parts."""

    @property
    def is_torn_down(self) -> bool:
        """True when the worker's own task is cancelled."""
        ...

    def begin(self, run: Run, /) -> None:
        """Start *run*."""
        ...

    def thread_began(self, run: Run, /) -> None:
        """Note that a thread calls the function of *run*."""
        ...

    def stuck(self, run: Run, /) -> None:
        """Note that *run* was told to end and does not."""
        ...

    def conclude(self, run: Run, /) -> None:
        """Note that the outcome of *run* is known."""
        ...

    def settled(self, runs: Sequence[Run], status: SettleStatus, /) -> None:
        """Note what the store said of *runs*."""
        ...

    def must_end(self, run: Run, cause: Cause, /) -> None:
        """Note, in the thread of the lease keeper, that *run* must end."""
        ...

    def loop_lost(self, culprit: Run | None, /) -> None:
        """Note, in the thread of the watchdog, that the loop is blocked for good, and by
        whom if it is a task."""
        ...


@frozen
class Parts:
    """What a worker consists of."""

    books: Books
    slots: Slots
    threads: Threads
    children: Children
    executor: Executor
    reports: Reports
    board: ProgressBoard
    outbox: Outbox
    outlet: Outlet
    settler: Settler
    keeper: LeaseKeeper
    watchdog: Watchdog
    runner: Runner
    alone: Alone


def assemble(stem: Stem, lane: Lane, terms: Terms, told: Told) -> Parts:
    """Return the parts of a worker that works by *terms*. To be called in its loop."""
    slots = Slots(terms.concurrency * terms.prefetch)
    threads = Threads(terms.threads, f"{terms.worker}-task")
    books = _books(stem, lane, terms)
    children = _children(stem, lane, terms, books)
    executor = Executor(threads, children, stem.clock, began=told.thread_began, stuck=told.stuck)
    loop = asyncio.get_running_loop()
    reports = Reports(Observers(terms.observers), stem.clock, terms.worker, loop)
    board = ProgressBoard(lane.backend, stem.config.result_ttl_ms)
    outbox = Outbox(lane.publish, slots.wake, reports.enqueued)
    keeper = _keeper(stem, lane, terms, reports, told)
    lapses = Lapses(lane.broker, keeper.drop)
    runner = _runner(stem, terms, books, executor, reports, lapses, told)
    return Parts(
        books=books,
        slots=slots,
        threads=threads,
        children=children,
        executor=executor,
        reports=reports,
        board=board,
        outbox=outbox,
        outlet=Outlet(stem, board.put, outbox.put),
        settler=_settler(stem, lane, books, reports, told),
        keeper=keeper,
        watchdog=Watchdog(stem.clock, limit_ms=terms.stall_limit_ms, over=told.loop_lost),
        runner=runner,
        alone=_alone(stem, slots, children, runner, told),
    )


def a_fetcher(
    stem: Stem,
    lane: Lane,
    terms: Terms,
    parts: Parts,
    *,
    queues: Mapping[str, int],
    take: Callable[[Sequence[Delivery]], None],
) -> Fetcher:
    """Return what fetches from *queues* for these *parts*."""
    reports = parts.reports
    return Fetcher(
        lane.broker,
        queues,
        parts.slots,
        worker=terms.worker,
        clock=stem.clock,
        dice=stem.dice,
        backoff=Backoff(stem.clock, stem.dice),
        take=take,
        failed=partial(reports.store_failed, "fetch"),
        lost=reports.broker_lost,
        back=reports.broker_back,
    )


def _books(stem: Stem, lane: Lane, terms: Terms) -> Books:
    config = stem.config
    return Books(
        worker=terms.worker,
        keeps_records=lane.backend is not None,
        success_ms=config.result_ttl_ms,
        failure_ms=config.failure_ttl_ms,
        dead_ms=config.dead_letter_ttl_ms,
    )


def _children(stem: Stem, lane: Lane, terms: Terms, books: Books) -> Children:
    rules = Rules(
        books=books,
        max_payload=stem.config.max_payload,
        weighs=bool(terms.children.max_rss),
        log_level=logging.getLogger().getEffectiveLevel(),
    )
    return Children(terms.children, rules, lane.capabilities, stem.clock, stem.dice)


def _alone(stem: Stem, slots: Slots, children: Children, runner: Runner, told: Told) -> Alone:
    def hand_back(run: Run, after_ms: int) -> None:
        why = "it may not be held beside a task that may end its worker"
        runner.settle(run, Handed(ReleaseWhy.LIMITED, after_ms, why))

    return Alone(
        slots,
        stem.clock,
        is_elsewhere=lambda run: children.takes_suspects or runner.is_elsewhere(run),
        start=told.begin,
        hand_back=hand_back,
    )


def _settler(stem: Stem, lane: Lane, books: Books, reports: Reports, told: Told) -> Settler:
    failed = partial(reports.store_failed, "settle")
    return Settler(lane, Backoff(stem.clock, stem.dice), books, told.settled, failed)


def _keeper(stem: Stem, lane: Lane, terms: Terms, reports: Reports, told: Told) -> LeaseKeeper:
    return LeaseKeeper(
        lane.broker.sibling,
        stem.clock,
        # Without any grace a task that is told to end still needs its lease to be settled.
        grace_ms=max(terms.grace_ms, LAST_SETTLE_MS),
        longest_ms=terms.max_run_ms,
        ended=told.must_end,
        renewed=reports.leases_renewed,
        failed=reports.renewal_failed,
    )


def _runner(
    stem: Stem,
    terms: Terms,
    books: Books,
    executor: Executor,
    reports: Reports,
    lapses: Lapses,
    told: Told,
) -> Runner:
    config = stem.config
    return Runner(
        books,
        park_limit_ms=config.park_limit_ms,
        max_payload=config.max_payload,
        open_message=partial(stem.pipeline.open_message, policy=terms.signing),
        refusals=Refusals(stem.clock),
        plans=Plans(stem.registry, stem.pipeline.defaults, no_processes=terms.children.why_not),
        executor=executor,
        reports=reports,
        conclude=told.conclude,
        lapse=lapses.hasten,
        is_torn_down=lambda: told.is_torn_down,
        clock=stem.clock,
        dice=stem.dice,
        seal=sealer(config.signing_results, stem.pipeline.signer, config.namespace),
    )

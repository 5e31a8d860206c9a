"""One working life of a worker: the parts, put together and taken apart in the right order.

    fetcher ─▶ runner, one asyncio task per delivery ─▶ settler
                └ keeper: renews the leases of all of them, in a thread of its own

Rule of this module: it counts, starts and stops. What becomes of a delivery is `runner`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

from stem_core.contracts.messages import Delivery, ReleaseWhy, SettleStatus
from stem_core.observe.health import Vitals
from stem_core.producer.client import Stem
from stem_core.producer.lane import Lane
from stem_core.producer.vouching import ControlReader
from stem_core.worker.backoff import Backoff, supervised
from stem_core.worker.exits import CUT_OFF, DRAINED, HANDED_BACK, PATIENCE_MS, STUCK
from stem_core.worker.fetcher import Fetcher
from stem_core.worker.handover import let_go
from stem_core.worker.orders import Orders
from stem_core.worker.outcomes import Cause, Handed
from stem_core.worker.parts import LAST_SETTLE_MS, a_fetcher, assemble
from stem_core.worker.polling import PollWatch
from stem_core.worker.run import Run
from stem_core.worker.saying import log_with_stack
from stem_core.worker.spawning import Spawn, now, soon
from stem_core.worker.stacks import stands_at
from stem_core.worker.terms import Terms, promises, say_what_is_sure

__all__ = ["Shift"]

_log = logging.getLogger("stem.worker")

_FAREWELL_MS: Final = 1_000
"""How long tasks may take to end when they are told to at a shutdown."""


class Shift:
    """Belongs to the loop that makes it, and works once."""

    def __init__(self, stem: Stem, lane: Lane, terms: Terms) -> None:
        self._stem = stem
        self._lane = lane
        self._terms = terms
        self._verifies = stem.pipeline.signer is not None and terms.signing != "off"
        self._clock = stem.clock
        self._loop = asyncio.get_running_loop()
        self._runs: set[Run] = set()
        self._unstarted: deque[Run] = deque()
        self._jobs = 0
        self._draining = asyncio.Event()
        self._stopping = asyncio.Event()
        self._exit_code = DRAINED
        self._broken_by: BaseException | None = None
        self._life: asyncio.Task[Any] | None = None
        self._cancelled_before = 0
        self._was_torn_down = False
        self._watches: set[asyncio.Task[Any]] = set()
        self._fetcher: Fetcher | None = None
        parts = self._parts = assemble(stem, lane, terms, self)
        # What is used for each delivery, without a detour.
        self._slots = parts.slots
        self._settler = parts.settler
        self._keeper = parts.keeper
        self._runner = parts.runner
        self._reports = parts.reports

    @property
    def running(self) -> int:
        """How many deliveries are held whose task has not ended."""
        return self._slots.running

    @property
    def _is_idle(self) -> bool:
        return self._slots.is_idle and self._parts.outbox.is_empty

    @property
    def is_torn_down(self) -> bool:
        """True when its own task is cancelled, though perhaps not told of it yet."""
        if self._was_torn_down or self._life is None:
            return self._was_torn_down
        return self._life.cancelling() > self._cancelled_before

    @property
    def is_draining(self) -> bool:
        """True since it was told to stop."""
        return self._draining.is_set()

    @property
    def vitals(self) -> Vitals:
        """How it is now."""
        fetcher = self._fetcher
        return Vitals(
            busy=self._jobs,
            slots=self._terms.concurrency,
            is_draining=self.is_draining,
            is_full=self._slots.free <= 0,
            fault=fetcher.fault if fetcher else "",
            silent_ms=self._clock.monotonic_ms() - fetcher.heard_ms if fetcher else 0,
            is_childless=bool(self._parts.children.fault),
        )

    def drain(self) -> None:
        """Take nothing new; let what runs finish within the grace."""
        self._draining.set()

    def stop_now(self) -> None:
        """Hand back what has not finished."""
        self._draining.set()
        self._stopping.set()

    def expect_to_hear(self, within_ms: int) -> None:
        """Note that the loop was told something: if it does not turn *within_ms*, it is
        blocked for good. From any thread, and from signal handlers."""
        self._parts.watchdog.told(within_ms)

    # ── a life ───────────────────────────────────────────────────────────────

    async def serve(self, queues: Mapping[str, int]) -> int:
        """Work until told to stop; return the exit code."""
        fetcher = self._fetcher = a_fetcher(
            self._stem, self._lane, self._terms, self._parts, queues=queues, take=self._take
        )
        return await self._live(self._until_told(fetcher), queues)

    async def serve_until_idle(self, queues: Callable[[], Awaitable[Mapping[str, int]]]) -> int:
        """Work until nothing is ready and nothing runs; return how many deliveries came.

        Raises:
            StoreError: the broker cannot be reached.
        """
        count = 0

        async def take_all() -> None:
            nonlocal count
            while not self._draining.is_set():
                # Looked at before the fetch: what ends meanwhile may make something ready.
                was_idle = self._is_idle
                came = await self._fetch_once(tuple(await queues()))
                count += came
                if not came and was_idle:
                    return
                if not (came or self._is_idle):
                    await self._slots.changed()

        await self._live(take_all(), {})
        return count

    async def _live(self, fetching: Coroutine[Any, Any, None], queues: Mapping[str, int]) -> int:
        lane = self._lane
        self._keeper.start()
        self._parts.watchdog.start()
        if self._terms.children.is_wanted:
            self._parts.children.warm()
        settling = self._forever("settle", self._settler.run)
        reporting = self._forever("progress", self._parts.board.run)
        self._reports.worker("worker-started", queues=list(queues), **promises(self._terms, lane))
        losses = lane.broker.losses
        if losses is not None:
            losses.add(self._reports.lost)
        say_what_is_sure(self._terms, lane, self._stem.pipeline.signer)
        self._life = life = asyncio.current_task()
        self._cancelled_before = life.cancelling() if life is not None else 0
        try:
            await fetching
        except asyncio.CancelledError:  # the loop ends, and every part of this with it
            self._was_torn_down = True
            raise
        finally:
            if not self._was_torn_down:
                await self._finish()
            if losses is not None:
                losses.discard(self._reports.lost)
            await self._take_apart(settling, reporting)
        if self._broken_by is not None:
            raise self._broken_by
        return self._exit_code

    async def _take_apart(self, *loops: asyncio.Task[None]) -> None:
        for loop in (*loops, *self._watches):
            loop.cancel()
        self._parts.watchdog.stop()
        await self._parts.children.close()
        await self._keeper.stop()
        self._parts.threads.close()
        self._reports.worker("worker-stopped", exit_code=self._exit_code)

    async def _until_told(self, fetcher: Fetcher) -> None:
        watch = PollWatch(
            self._clock,
            lambda: self.vitals,
            limit_ms=self._terms.poll_limit_ms,
            cut_off=partial(self._end_as, CUT_OFF),
        )
        loops = [
            self._forever("fetch", fetcher.run),
            self._forever("poll", watch.run),
            *self._listening(),
        ]
        try:
            await self._draining.wait()
        finally:
            # The broker hands back what a cancelled fetch had taken.
            for loop in loops:
                loop.cancel()
            await asyncio.wait(loops)

    def _listening(self) -> Iterator[asyncio.Task[None]]:
        """Hear of cancels at once, where the broker can tell of them."""
        channel = self._lane.broker.control
        if channel is not None:
            pipeline = self._stem.pipeline
            reader = ControlReader(pipeline.namespace, pipeline.signer, clock=self._clock)
            orders = Orders(channel, reader, self._clock, look=self._look_at)
            yield self._forever("orders", orders.run)

    def _look_at(self, id: str) -> None:
        for run in self._runs:
            if run.delivery.message.id == id:
                self._keeper.look_at(run)

    async def _fetch_once(self, queues: Sequence[str]) -> int:
        while self._slots.free <= 0:
            await self._slots.changed()
        limit = min(500, self._slots.free)
        deliveries = await self._lane.broker.fetch(
            queues, limit=limit, wait_ms=0, worker=self._terms.worker
        )
        self._take(deliveries)
        await asyncio.sleep(0)
        return len(deliveries)

    def _forever(self, name: str, loop: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        running = self._loop.create_task(
            supervised(name, loop, Backoff(self._clock, self._stem.dice)), name=f"stem-{name}"
        )
        running.add_done_callback(self._loop_ended)
        return running

    def _loop_ended(self, loop: asyncio.Task[None]) -> None:
        """A loop ends when it is cancelled, or by an error that no new try would mend."""
        if not loop.cancelled() and (error := loop.exception()) is not None:
            self._broken_by = self._broken_by or error
            self.stop_now()

    # ── the end of it ────────────────────────────────────────────────────────

    async def _finish(self) -> None:
        """Let tasks finish, then hand back, then let the settlements through."""
        self._draining.set()
        self._reports.worker("worker-draining", running=self._slots.running)
        self._hand_back_unstarted()
        await self._first_of(self._idle(), self._stopping.wait(), self._after(self._terms.grace_ms))
        if self._slots.running:
            self._exit_code = self._exit_code or HANDED_BACK
            for run in list(self._runs):
                run.end(Cause.SHUTDOWN)
            await self._first_of(self._nothing_runs(), self._after(_FAREWELL_MS))
            for run in list(self._runs):
                _log.error("%s does not end; this worker leaves it", run.label)
                self._runner.give_up(run)
        if self._broken_by is None:
            await self._first_of(self._idle(), self._after(LAST_SETTLE_MS))
        if not self._slots.is_idle:
            _log.error("%d settlements did not get through", self._slots.unsettled)
            self._exit_code = self._exit_code or HANDED_BACK

    def _hand_back_unstarted(self) -> None:
        self._parts.alone.leave()
        while self._unstarted:
            self._runner.settle(self._unstarted.popleft(), Handed(ReleaseWhy.SHUTDOWN))
        for run in self._runs:
            run.take_back()

    async def _first_of(self, *events: Awaitable[object]) -> None:
        waiting = [asyncio.ensure_future(event) for event in events]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()

    async def _after(self, pause_ms: int) -> None:
        await self._clock.sleep(pause_ms)

    async def _idle(self) -> None:
        while not self._is_idle:
            await self._slots.changed()

    async def _nothing_runs(self) -> None:
        while self._slots.running:
            await self._slots.changed()

    # ── one delivery after the other ─────────────────────────────────────────

    def _take(self, deliveries: Sequence[Delivery]) -> None:
        now_ms, outlet = self._clock.monotonic_ms(), self._parts.outlet
        runs = [Run(delivery, outlet, now_ms) for delivery in deliveries]
        self._slots.start(len(runs))
        self._runs.update(runs)
        self._keeper.hold(*runs)
        if self._verifies:
            runs = self._runner.sift(runs)
        runs = self._parts.alone.sort(runs)
        room = max(0, self._terms.concurrency - self._jobs)
        self._unstarted.extend(runs[room:])
        for run in runs[:room]:
            self._start(run, now)

    def begin(self, run: Run) -> None:
        """Start *run*, which was kept apart."""
        self._start(run, soon)

    def _start(self, run: Run, spawn: Spawn) -> None:
        self._jobs += 1
        run.is_started = True
        carrier = spawn(self._runner.run(run), self._loop)
        if run.outcome is None:  # else it needed one step only, and has let go of all that
            run.carrier = carrier

    def conclude(self, run: Run) -> None:
        """Its outcome is known."""
        self._runs.discard(run)
        self._slots.end()
        if run.settlement is not None:
            self._settler.add(run)
        else:
            self._keeper.drop(run)
            self._slots.settled()
            self._reports.dropped(run)
        if run is self._parts.alone.suspect:
            self._parts.alone.over()
        if run.is_started:
            self._jobs -= 1
            if self._unstarted:  # not inside this one: tasks that never wait would pile up
                self._start(self._unstarted.popleft(), soon)

    def thread_began(self, run: Run) -> None:
        """Its function begins, in a thread."""
        run.started_ms = self._clock.wall_ms()
        self._reports.started(run)

    def settled(self, runs: Sequence[Run], status: SettleStatus) -> None:
        """The store has answered."""
        self._keeper.drop(*runs)
        self._slots.settled(len(runs))
        self._reports.settled(runs, status)

    # ── what goes wrong ──────────────────────────────────────────────────────

    def must_end(self, run: Run, cause: Cause) -> None:
        """Called in the keeper's thread."""
        if cause is not Cause.CANCEL:
            self.expect_to_hear(PATIENCE_MS)
        with contextlib.suppress(RuntimeError):  # the worker's loop is closed, and all with it
            self._loop.call_soon_threadsafe(self._end, run, cause)

    def _end(self, run: Run, cause: Cause) -> None:
        known = run.cause
        run.end(cause)
        if run.cause is not known and run.outcome is None:
            watch = self._loop.create_task(self._parts.executor.expect_the_end(run))
            self._watches.add(watch)
            watch.add_done_callback(self._watches.discard)

    def stuck(self, run: Run) -> None:
        """A task was told to end and does not: this process cannot be trusted any more."""
        why = run.cause.value if run.cause else ""
        log_with_stack(
            logging.ERROR,
            f"{run.label} was told to end ({why}) and does not; this worker hands the rest back "
            f"and stops with exit code {STUCK}. It stands here:",
            stands_at(run),
        )
        self._end_as(STUCK)

    def _end_as(self, code: int) -> None:
        """Hand back what has not finished, and end with *code*."""
        self._exit_code = code
        self.stop_now()

    def loop_lost(self, culprit: Run | None) -> None:
        """Called in the watchdog's thread: nothing but it can still let go of the work."""
        books, dice = self._parts.books, self._stem.dice
        let_go(self._keeper.held(), culprit, self._lane, books, self._clock, dice)
        if self._terms.leave is not None:
            self._terms.leave(STUCK)
        with contextlib.suppress(RuntimeError):  # the worker's loop is closed, and all with it
            self._loop.call_soon_threadsafe(self._end_as, STUCK)

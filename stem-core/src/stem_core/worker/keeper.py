"""The lease keeper: a thread of its own that renews what the worker holds.

It has its own loop and its own handle to the store, so a task that blocks the worker's
loop delays its neighbours but does not lose anybody's lease. Rule of this module: it
never touches a task; what must end is reported, and ended in the worker's loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

from stem_core.contracts.broker import Broker
from stem_core.contracts.clock import Clock
from stem_core.contracts.messages import Extended, ExtendStatus, Extension
from stem_core.model.errors import StoreError
from stem_core.worker.outcomes import Cause
from stem_core.worker.run import Run
from stem_core.worker.saying import log_with_stack
from stem_core.worker.stacks import stands_at

__all__ = ["LeaseKeeper", "patience_ms"]

_log = logging.getLogger("stem.worker")

_MOST: Final = 500
_LEAST_PAUSE_MS: Final = 5
_LEAST_PATIENCE_MS: Final = 50
_LOOK_MS: Final = 1_000
_SOON_MS: Final = 250
_PAUSE_S: Final = 0.5
_FAREWELL_S: Final = 5.0


class LeaseKeeper:
    """Renews leases at a third of their length until they are dropped.

    Args:
        broker: gives a handle that is used in the keeper's loop alone.
        longest_ms: how long a task without a hard time limit may run.
        grace_ms: how much longer than its longest time a task may hold its lease.
        ended: is called in the keeper's thread with a run that must end, and why.
        renewed: is called there with how many leases were renewed by one call.
        failed: is called there with an error of a call that shall renew them.
    """

    def __init__(
        self,
        broker: Callable[[], Broker],
        clock: Clock,
        *,
        grace_ms: int,
        longest_ms: int = 3_600_000,
        ended: Callable[[Run, Cause], None],
        renewed: Callable[[int], None] = lambda count: None,
        failed: Callable[[Exception], None] = lambda error: None,
    ) -> None:
        self._open = broker
        self._clock = clock
        self._grace_ms = grace_ms
        self._longest_ms = longest_ms
        self._ended = ended
        self._has_renewed = renewed
        self._failed = failed
        # A set and two numbers are all that two threads share. Each operation on them is
        # one step of the interpreter; the keeper works on a copy.
        self._held: set[Run] = set()
        self._wakes_at_ms: float = math.inf
        self._shortest_ms = 30_000
        self._stopped = False
        self._gone: asyncio.Future[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._bell: asyncio.Event | None = None
        self._given_up: set[asyncio.Future[Any]] = set()
        self._is_unheard = False

    def start(self) -> None:
        """Start the thread. To be called in the worker's loop."""
        self._gone = asyncio.get_running_loop().create_future()
        threading.Thread(target=self._main, name="stem-leases", daemon=True).start()

    async def stop(self) -> None:
        """End the thread. What is still held is left to lapse."""
        self._stopped = True
        self._ring()
        if self._gone is not None:
            await asyncio.wait([self._gone], timeout=_FAREWELL_S)

    def hold(self, *runs: Run) -> None:
        """Renew the leases of *runs* from now on."""
        self._held.update(runs)
        if min([run.renew_at_ms for run in runs], default=math.inf) < self._wakes_at_ms:
            self._ring()

    def look_at(self, run: Run) -> None:
        """Renew the lease of *run* now: the reply says whether it shall end.

        Where a renewal of it is on its way, the next one comes at its usual time.
        """
        run.renew_at_ms = 0
        self._ring()

    def held(self) -> list[Run]:
        """Return whose leases are renewed now. From any thread."""
        return list(self._held)

    def drop(self, *runs: Run) -> None:
        """Renew them no more."""
        self._held.difference_update(runs)

    def _ring(self) -> None:
        loop, bell = self._loop, self._bell
        if loop is not None and bell is not None and not loop.is_closed():
            loop.call_soon_threadsafe(bell.set)

    # ── in the keeper's thread ───────────────────────────────────────────────

    def _main(self) -> None:
        while not self._stopped:
            try:
                asyncio.run(self._keep())
            except Exception:  # leases must be renewed, whatever a store's handle does
                _log.exception("the lease keeper failed; it starts again")
                time.sleep(_PAUSE_S)
        if self._gone is not None:
            with contextlib.suppress(RuntimeError):  # the worker's loop is closed: nobody waits
                self._gone.get_loop().call_soon_threadsafe(self._gone.set_result, None)

    async def _keep(self) -> None:
        self._bell = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        broker: Broker | None = None
        try:
            while not self._stopped:
                self._bell.clear()
                due = self._due()
                if due:
                    broker = broker or self._open()
                    await self._renew(broker, due)
                else:
                    await self._sleep()
        finally:
            if broker is not None:
                await broker.aclose()

    def _due(self) -> list[Run]:
        """Return whose time has come; else set when to look again."""
        # Before the copy is taken: who comes after it rings the bell.
        self._wakes_at_ms = math.inf
        held = list(self._held)
        now_ms = self._clock.monotonic_ms()
        for run in held:
            if run.started_ms and not run.runs_since_ms:
                run.runs_since_ms = now_ms
        due = [run for run in held if run.renew_at_ms <= now_ms]
        if held:
            self._shortest_ms = min(run.lease_ms for run in held)
        if not due:
            # With nothing held, look again when a lease as short as the last ones would be
            # due: the next delivery then need not ring.
            soonest = min((run.renew_at_ms for run in held), default=math.inf)
            self._wakes_at_ms = min(soonest, now_ms + self._shortest_ms / 3)
        return due

    async def _sleep(self) -> None:
        assert self._bell is not None
        now_ms = self._clock.monotonic_ms()
        pause_ms = math.ceil(self._wakes_at_ms - now_ms)
        if self._held:
            pause_ms = min(pause_ms, _LOOK_MS)
        ringing = asyncio.ensure_future(self._bell.wait())
        sleeping = asyncio.ensure_future(self._clock.sleep(max(_LEAST_PAUSE_MS, pause_ms)))
        _, pending = await asyncio.wait((ringing, sleeping), return_when=asyncio.FIRST_COMPLETED)
        for future in pending:
            future.cancel()

    async def _renew(self, broker: Broker, due: Sequence[Run]) -> None:
        most = min(_MOST, broker.capabilities.max_batch)
        for start in range(0, len(due), most):
            await self._renew_some(broker, self._renewable(due[start : start + most]))

    def _renewable(self, due: Sequence[Run]) -> list[Run]:
        now_ms = self._clock.monotonic_ms()
        for run in due:
            if now_ms >= self._last_renewal_ms(run):
                self._end(run, Cause.LEASE_LOST)
                log_with_stack(
                    logging.ERROR,
                    f"{run.label} still runs after its longest time; its lease is not renewed "
                    "any more. Give it a hard_time_limit= that fits, or raise "
                    "STEM_WORKER_MAX_RUN. It stands here:",
                    stands_at(run),
                )
            elif self._is_unheard and now_ms >= _self_fence_at_ms(run):
                self._end(run, Cause.LEASE_LOST)  # to ask once more would take what is left
        return [run for run in due if run in self._held]

    def _last_renewal_ms(self, run: Run) -> float:
        """Return until when the lease of *run* is renewed: what waits for its turn, or for a
        thread, is not counted against it."""
        if not run.runs_since_ms:
            return math.inf
        hard_ms = None if run.plan is None else run.plan.effective.hard_limit_ms
        return run.runs_since_ms + (hard_ms or self._longest_ms) + self._grace_ms

    async def _renew_some(self, broker: Broker, runs: list[Run]) -> None:
        if not runs:
            return
        asked_ms = self._clock.monotonic_ms()
        wishes = [Extension(run.delivery.receipt, run.lease_ms) for run in runs]
        try:
            # All that is held: what is not asked about now may have to end before the answer.
            # But what has ended and waits to be settled need not be told to.
            running = [run for run in self.held() if run.settlement is None]
            patience_s = patience_ms(running or runs, asked_ms) / 1000
            replies = await self._in_time(broker.extend(wishes), patience_s)
        except (StoreError, TimeoutError) as error:
            self._not_renewed(runs, error)
            return
        except Exception as error:  # a bug of a store: start again, but fence what it costs
            self._not_renewed(runs, error)
            raise
        self._is_unheard = False
        self._has_renewed(sum(reply.status is not ExtendStatus.LOST for reply in replies))
        for run, reply in zip(runs, replies, strict=True):
            self._renewed(run, reply, asked_ms)

    async def _in_time(
        self, call: Coroutine[Any, Any, Sequence[Extended]], patience_s: float
    ) -> Sequence[Extended]:
        """Return what *call* returns, or raise TimeoutError the moment its time is over.

        A driver may take long to give up, as one that first asks a silent server to stop. A
        lease does not wait for that, so the call is cancelled and not waited for.
        """
        asking = asyncio.ensure_future(call)
        done, _ = await asyncio.wait([asking], timeout=patience_s)
        if done:
            return asking.result()
        self._given_up.add(asking)
        asking.add_done_callback(self._forget)
        asking.cancel()
        raise TimeoutError

    def _forget(self, asking: asyncio.Future[Any]) -> None:
        self._given_up.discard(asking)
        if not asking.cancelled():
            asking.exception()  # seen: nobody else will ask for it

    def _renewed(self, run: Run, reply: Extended, asked_ms: int) -> None:
        if run not in self._held:  # settled while we asked
            return
        match reply.status:
            case ExtendStatus.LOST:
                self._end(run, Cause.LEASE_LOST)
            case ExtendStatus.HELD | ExtendStatus.CANCEL_REQUESTED:
                run.ends_at_ms = asked_ms + reply.remaining_ms
                # Less is left of a lease that somebody has locked: it is renewed once he lets go.
                soon_ms = max(_SOON_MS, reply.remaining_ms / 3)
                run.renew_at_ms = asked_ms + min(run.lease_ms / 3, soon_ms)
        if reply.status is ExtendStatus.CANCEL_REQUESTED and run.cause is None:
            run.cancel_reason = reply.cancel_reason
            run.wants_end = True
            self._ended(run, Cause.CANCEL)

    def _not_renewed(self, runs: Sequence[Run], error: Exception) -> None:
        self._failed(error)
        self._is_unheard = True
        now_ms = self._clock.monotonic_ms()
        why = str(error) or type(error).__name__
        _log.warning("%d leases could not be renewed: %s", len(runs), why)
        for run in runs:
            if run not in self._held:
                continue
            if now_ms >= _self_fence_at_ms(run):
                self._end(run, Cause.LEASE_LOST)
            else:
                pause_ms = min(1_000, run.lease_ms / 20)
                run.renew_at_ms = min(now_ms + pause_ms, _self_fence_at_ms(run))

    def _end(self, run: Run, cause: Cause) -> None:
        self.drop(run)
        run.wants_end = True
        self._ended(run, cause)


def patience_ms(runs: Sequence[Run], now_ms: float) -> float:
    """Return how long the renewal of *runs* may take: a third of a lease, and no longer than
    until the first of them must be told to end."""
    third_ms = min(run.lease_ms for run in runs) / 3
    left_ms = min(_self_fence_at_ms(run) for run in runs) - now_ms
    return max(_LEAST_PATIENCE_MS, min(third_ms, left_ms))


def _self_fence_at_ms(run: Run) -> float:
    """When the task must be told to end, because the lease may soon be somebody else's."""
    return run.ends_at_ms - 0.1 * run.lease_ms

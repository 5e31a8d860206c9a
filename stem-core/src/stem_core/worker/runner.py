"""The way of one delivery: verify → decode → admit → run → decide → settle.

Rule of this module: each step returns None to go on, or the outcome that ends the way.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache
from typing import Final

from stem_core.contracts.clock import Clock, Dice
from stem_core.contracts.messages import Message, ReleaseWhy, Settlement
from stem_core.model.envelope import Envelope
from stem_core.model.errors import (
    DecodeError,
    InvalidArguments,
    SignatureError,
    SignatureInvalid,
    SignatureMissing,
    StemError,
    StoreError,
    UnknownTask,
    UnsupportedVersion,
    UsageError,
)
from stem_core.model.outcome import Reason, Record, TaskError
from stem_core.model.retry import names_of
from stem_core.producer.context import CURRENT, TaskContext
from stem_core.worker.admission import admit, is_suspect, park, unknown_task
from stem_core.worker.decide import Books, decide
from stem_core.worker.execution import Executor
from stem_core.worker.failures import error_of, outcome_of
from stem_core.worker.isolation.lapses import Epitaphs
from stem_core.worker.isolation.pool import NoChildren
from stem_core.worker.isolation.process import ChildDied
from stem_core.worker.isolation.wire import Ended
from stem_core.worker.outcomes import Failed, Handed, Lapsed, Outcome, Refused, Returned
from stem_core.worker.plans import Plan, Plans
from stem_core.worker.reckoning import Reckoning
from stem_core.worker.refusals import Refusals
from stem_core.worker.reports import Reports
from stem_core.worker.run import Run

__all__ = ["Runner"]

_log = logging.getLogger("stem.worker")

_NO_CHILD_MS: Final = 5_000
"""How long a message that needs a child waits elsewhere when none comes up."""

# By whether a signature is missing. Worked out once: a stranger decides how often it is needed.
_REFUSALS: Final = (names_of(SignatureInvalid)[0], names_of(SignatureMissing)[0])


class Runner:
    """Takes deliveries to their settlements, one call for each.

    Args:
        books: what is written down.
        park_limit_ms: how long a message that nobody can run is parked.
        max_payload: most bytes of a result.
        open_message: verifies a message and decodes the very bytes that were verified.
        refusals: hears of those that nobody vouches for.
        conclude: called once for each run, when its outcome and settlement are known.
        lapse: lets the lease of a run end soon, as one that nobody holds any more.
        is_torn_down: says whether the worker itself is cancelled, by the end of its loop.
    """

    def __init__(
        self,
        books: Books,
        *,
        park_limit_ms: int,
        max_payload: int,
        open_message: Callable[[Message], Envelope],
        refusals: Refusals,
        plans: Plans,
        executor: Executor,
        reports: Reports,
        conclude: Callable[[Run], None],
        lapse: Callable[[Run], Awaitable[None]],
        is_torn_down: Callable[[], bool],
        clock: Clock,
        dice: Dice,
        seal: Callable[[Record], Record] | None = None,
    ) -> None:
        self._books = books
        self._signs = seal is not None
        self._reckoning = Reckoning(books, clock, max_payload=max_payload, seal=seal)
        self._park_limit_ms = park_limit_ms
        self._open_message = open_message
        self._refusals = refusals
        self._plans = plans
        self._executor = executor
        self._reports = reports
        self._conclude = conclude
        self._lapse = lapse
        self._epitaphs = Epitaphs()
        self._is_torn_down = is_torn_down
        self._clock = clock
        self._dice = dice

    def sift(self, runs: Sequence[Run]) -> list[Run]:
        """Open *runs* and end those that nobody vouches for; return the others.

        For workers that verify: what a forger sends costs no task of the event loop, so a
        flood of it leaves most of the time to good work.
        """
        return [run for run in runs if self._is_vouched_for(run)]

    def _is_vouched_for(self, run: Run) -> bool:
        try:
            run.envelope = self._open_message(run.delivery.message)
        except SignatureError as error:
            self.settle(run, self._unvouched(run, error))
            return False
        except Exception:  # its turn comes: it is opened again then, and told of
            return True
        return True

    def is_elsewhere(self, run: Run) -> bool:
        """Say whether *run* has a process of its own, or never comes to call a function."""
        try:
            envelope = run.envelope = run.envelope or self._open_message(run.delivery.message)
        except Exception:  # its turn comes: it is opened again then, and told of
            return True
        plan = self._plans.of(envelope)
        return plan is None or plan.in_process

    async def run(self, run: Run) -> None:
        """Take *run* to its settlement. A cancellation from outside leaves it to its lease."""
        try:
            outcome = (
                (self._open(run) if run.envelope is None else None)
                or self._admit(run)
                or await self._attempt(run)
            )
        except BaseException as error:  # a bug, ours or a plugin's: it costs this task only
            is_ours = isinstance(error, Exception) or run.is_called
            if not is_ours or self._is_the_end_of_the_loop(run, error):
                raise
            outcome = self._unexpected(run, error)
        self.settle(run, outcome)

    # ── the steps ────────────────────────────────────────────────────────────

    def _open(self, run: Run) -> Outcome | None:
        """Verify first, decode second."""
        try:
            run.envelope = self._open_message(run.delivery.message)
        except SignatureError as error:
            return self._unvouched(run, error)
        except UnsupportedVersion as error:
            return self._parked(run, Reason.DECODE_ERROR, error)
        except DecodeError as error:
            return self._reckoning.refused(run, Reason.DECODE_ERROR, error)
        return None

    def _admit(self, run: Run) -> Outcome | None:
        """May it run here and now?"""
        assert run.envelope is not None  # opened
        now_ms = run.admitted_ms = self._clock.wall_ms()
        epitaph = self._epitaphs.of(run.id) if run.delivery.lapses else ""
        refusal = admit(run.delivery, run.envelope, now_ms=now_ms, epitaph=epitaph)
        if refusal is not None:
            return refusal
        if run.cause is not None:  # told to end before it began
            return outcome_of(
                asyncio.CancelledError(),
                cause=run.cause,
                cancel_reason=run.cancel_reason,
                attempt=0,
                now_ms=now_ms,
            )
        plan = run.plan = self._plans.of(run.envelope)
        if plan is not None and not plan.complaint:
            if self._executor.children.takes_suspects and is_suspect(run.delivery):
                run.plan = plan.isolated()
            return None
        told = unknown_task(
            run.envelope.task,
            known=self._plans.names(),
            complaint=plan.complaint if plan else "",
            now_ms=now_ms,
        )
        # Parked in both cases: a newer worker may know it, or be able to do what is asked.
        return self._park(run, Reason.REJECTED if plan else Reason.UNREGISTERED_TASK, told)

    async def _attempt(self, run: Run) -> Outcome:
        """Call the task's function; what it does comes back as data."""
        plan, envelope = run.plan, run.envelope
        assert plan is not None  # admitted
        assert envelope is not None
        if plan.in_process:
            return await self._attempt_elsewhere(run, plan, envelope)
        try:
            arguments = plan.task.binding.from_wire(envelope.args)
        except InvalidArguments as error:
            return self._reckoning.refused(run, Reason.ARGUMENTS_MISMATCH, error)
        self._set_context(run, envelope)
        if not plan.in_thread:  # else it starts when a thread is free
            run.started_ms = run.admitted_ms
            self._reports.started(run)
        try:
            run.is_called = True
            if plan.is_plain:
                value = await plan.task.fn(**arguments)
            else:
                value = await self._executor.call(run, plan, arguments)
        except BaseException as error:  # whatever a task raises is its outcome
            if self._is_the_end_of_the_loop(run, error):
                raise
            return self._reckoning.raised(run, error)
        if run.completed is not None:
            return await self._completed(run, run.completed)
        return self._reckoning.returned(run, plan, value)

    def _set_context(self, run: Run, envelope: Envelope) -> None:
        run.context = TaskContext(envelope, run.delivery, run)
        run.runner = self
        CURRENT.set(run.context)

    async def _attempt_elsewhere(self, run: Run, plan: Plan, envelope: Envelope) -> Outcome:
        """Have a child call the task's function; a death of it is no end of the task's own."""
        self._set_context(run, envelope)
        run.is_called = True
        try:
            ended = await self._executor.in_child(run, plan)
        except ChildDied as death:
            return await self._died(run, str(death))
        except NoChildren as none:
            return Handed(ReleaseWhy.PARKED, _NO_CHILD_MS, str(none))
        except UnknownTask as error:
            return self._parked(run, Reason.UNREGISTERED_TASK, error)
        except BaseException as error:  # it was told to end before it began
            if self._is_the_end_of_the_loop(run, error):
                raise
            return self._reckoning.raised(run, error)
        return await self._came_back(run, ended)

    async def _came_back(self, run: Run, ended: Ended) -> Outcome:
        assert run.context is not None  # set before the child was asked
        run.context.follow_ups.extend(ended.follow_ups)
        outcome = ended.read()
        if ended.is_completed and isinstance(outcome, Returned):
            return await self._completed(run, outcome)
        return outcome

    async def _died(self, run: Run, how: str) -> Outcome:
        """Its process is dead: because Stem had to end it, or because of what the task did."""
        if run.cause is not None:
            return self._reckoning.raised(run, asyncio.CancelledError())
        lapses, most = run.delivery.lapses + 1, run.delivery.message.max_lapses
        _log.error("%s ended its process (%d of %d): %s", run.label, lapses, most, how)
        self._epitaphs.keep(run.id, how)
        await self._lapse(run)
        return Lapsed(how)

    def succeeded(self, run: Run, value: object) -> tuple[Returned, Settlement]:
        """See `Reckoning.succeeded`."""
        return self._reckoning.succeeded(run, value)

    async def _completed(self, run: Run, returned: Returned) -> Outcome:
        """Is it committed? Then settling it again answers `already`; else the attempt failed."""
        error: StemError = UsageError(
            "ctx.complete was called, and its transaction is not committed",
            way_out="Commit before the function returns.",
        )
        try:
            if await run.outlet.is_committed(run):
                return returned
        except StoreError as away:
            error = away
        return self._reckoning.raised(run, error)

    def settle(self, run: Run, outcome: Outcome) -> None:
        """Decide what becomes of *run* and hand it on. Once: later calls change nothing."""
        if run.outcome is not None:
            return
        run.outcome = outcome
        run.ended_ms = now_ms = self._clock.wall_ms()
        roll = self._dice.roll() if isinstance(outcome, Failed) else 0.0
        run.settlement = decide(outcome, run, self._books, now_ms=now_ms, roll=roll)
        if self._signs and run.settlement is not None:
            run.settlement = self._reckoning.sealed(run.settlement)
        self._conclude(run)
        run.let_go()

    def give_up(self, run: Run) -> None:
        """Settle *run*, which was told to end and does not, as what ended it.

        A time limit fails the attempt: handed back, it would end one worker after another.
        The fence keeps whatever the task still does from counting.
        """
        self.settle(run, self._reckoning.raised(run, asyncio.CancelledError()))

    def _unexpected(self, run: Run, error: BaseException) -> Outcome:
        told = error_of(error, 0, self._clock.wall_ms())
        # Without `exc_info`: what the error says of itself may raise.
        _log.error(
            "%s failed outside its function: %s\n%s", run.label, told.message, told.traceback
        )
        if run.is_called:  # parked, it would be called again and again
            return self._reckoning.raised(run, error)
        return self._park(run, Reason.DECODE_ERROR, told)

    def _parked(self, run: Run, reason: Reason, error: Exception) -> Outcome:
        told = error_of(error, 0, self._clock.wall_ms())
        return self._park(run, reason, told)

    def _park(self, run: Run, reason: Reason, told: TaskError) -> Outcome:
        if not run.delivery.parked_ms:  # the reason is kept nowhere else until it is dead
            _log.warning("%s is parked: %s", run.label, told.message)
        return park(run.delivery, reason, told, limit_ms=self._park_limit_ms)

    def _unvouched(self, run: Run, error: SignatureError) -> Refused:
        self._refusals.note(error, run.delivery.message)
        return _unvouched(isinstance(error, SignatureMissing), error.message, self._clock.wall_ms())

    def _is_the_end_of_the_loop(self, run: Run, error: BaseException) -> bool:
        """True when somebody other than Stem or the task tears down what runs it."""
        # The type is asked and not the error, whose `__class__` may be the task's own code.
        if run.carrier is None:  # its first step, which nobody can have cancelled; or it is over
            return False
        if issubclass(type(error), GeneratorExit):
            return not _is_at_work(run.carrier)
        cancelled = issubclass(type(error), asyncio.CancelledError) and run.cause is None
        return cancelled and run.carrier.cancelling() > 0 and self._is_torn_down()


@lru_cache(8)  # in a flood there are many in one millisecond
def _unvouched(is_missing: bool, message: str, now_ms: int) -> Refused:
    reason = Reason.SIGNATURE_MISSING if is_missing else Reason.SIGNATURE_INVALID
    # Without a traceback: it would tell a forger where the check failed.
    told = TaskError(type=_REFUSALS[is_missing], message=message, at_ms=now_ms)
    return Refused(reason=reason, error=told, claims_id=False)


def _is_at_work(carrier: asyncio.Task[None]) -> bool:
    """False when the coroutine of *carrier* is being closed and not run."""
    try:
        return asyncio.current_task() is carrier
    except RuntimeError:  # the loop is not running
        return False

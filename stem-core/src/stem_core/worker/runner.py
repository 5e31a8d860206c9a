"""The way of one delivery: verify → decode → admit → run → decide → settle.

Rule of this module: each step returns None to go on, or the outcome that ends the way.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from stem_core.contracts.clock import Clock, Dice
from stem_core.contracts.messages import Message
from stem_core.model.codec import encode_value
from stem_core.model.envelope import Envelope
from stem_core.model.errors import (
    DecodeError,
    InvalidArguments,
    NotEncodable,
    PayloadTooLarge,
    SignatureError,
    SignatureMissing,
    UnsupportedVersion,
)
from stem_core.model.outcome import Reason
from stem_core.producer.context import CURRENT, TaskContext
from stem_core.worker.admission import admit, park, unknown_task
from stem_core.worker.decide import Books, decide
from stem_core.worker.execution import Executor
from stem_core.worker.failures import error_of, outcome_of
from stem_core.worker.outcomes import Failed, Outcome, Refused, Returned
from stem_core.worker.plans import Plan, Plans
from stem_core.worker.reports import Reports
from stem_core.worker.run import Run

__all__ = ["Runner"]

_log = logging.getLogger("stem.worker")


class Runner:
    """Takes deliveries to their settlements, one call for each.

    Args:
        books: what is written down.
        park_limit_ms: how long a message that nobody can run is parked.
        max_payload: most bytes of a result.
        open_message: verifies a message and decodes the very bytes that were verified.
        conclude: called once for each run, when its outcome and settlement are known.
    """

    def __init__(
        self,
        books: Books,
        *,
        park_limit_ms: int,
        max_payload: int,
        open_message: Callable[[Message], Envelope],
        plans: Plans,
        executor: Executor,
        reports: Reports,
        conclude: Callable[[Run], None],
        clock: Clock,
        dice: Dice,
    ) -> None:
        self._books = books
        self._park_limit_ms = park_limit_ms
        self._max_payload = max_payload
        self._open_message = open_message
        self._plans = plans
        self._executor = executor
        self._reports = reports
        self._conclude = conclude
        self._clock = clock
        self._dice = dice

    async def run(self, run: Run) -> None:
        """Take *run* to its settlement. A cancellation from outside leaves it to its lease."""
        try:
            outcome = self._open(run) or self._admit(run) or await self._attempt(run)
        except Exception as error:  # a bug, ours or a plugin's: it costs this task only, for now
            _log.exception("%s could not be taken on", run.label)
            outcome = self._parked(run, Reason.DECODE_ERROR, error)
        self.settle(run, outcome)

    # ── the steps ────────────────────────────────────────────────────────────

    def _open(self, run: Run) -> Outcome | None:
        """Verify first, decode second."""
        try:
            run.envelope = self._open_message(run.delivery.message)
        except SignatureError as error:
            missing = isinstance(error, SignatureMissing)
            reason = Reason.SIGNATURE_MISSING if missing else Reason.SIGNATURE_INVALID
            return self._refused(run, reason, error, claims_id=False)
        except UnsupportedVersion as error:
            return self._parked(run, Reason.DECODE_ERROR, error)
        except DecodeError as error:
            return self._refused(run, Reason.DECODE_ERROR, error)
        return None

    def _admit(self, run: Run) -> Outcome | None:
        """May it run here and now?"""
        assert run.envelope is not None  # opened
        now_ms = run.admitted_ms = self._clock.wall_ms()
        refusal = admit(run.delivery, run.envelope, now_ms=now_ms)
        if refusal is not None:
            return refusal
        if run.cause is not None:  # told to end before it began
            return outcome_of(asyncio.CancelledError(), cause=run.cause, attempt=0, now_ms=now_ms)
        plan = run.plan = self._plans.of(run.envelope)
        if plan is not None and not plan.complaint:
            return None
        told = unknown_task(
            run.envelope.task,
            known=self._plans.names(),
            complaint=plan.complaint if plan else "",
            now_ms=now_ms,
        )
        limit_ms = self._park_limit_ms
        return park(run.delivery, Reason.UNREGISTERED_TASK, told, limit_ms=limit_ms)

    async def _attempt(self, run: Run) -> Outcome:
        """Call the task's function; what it does comes back as data."""
        plan, envelope = run.plan, run.envelope
        assert plan is not None  # admitted
        assert envelope is not None
        try:
            arguments = plan.task.binding.from_wire(envelope.args)
        except InvalidArguments as error:
            return self._refused(run, Reason.ARGUMENTS_MISMATCH, error)
        run.context = TaskContext(envelope, run.delivery, run)
        CURRENT.set(run.context)
        run.started_ms = run.admitted_ms
        self._reports.started(run)
        try:
            run.is_called = True
            if plan.is_plain:
                value = await plan.task.fn(**arguments)
            else:
                value = await self._executor.call(run, plan, arguments)
        except BaseException as error:  # whatever a task raises is its outcome
            if _is_the_end_of_the_loop(run, error):
                raise
            return outcome_of(
                error,
                cause=run.cause,
                attempt=run.delivery.attempt,
                now_ms=self._clock.wall_ms(),
            )
        return self._returned(run, plan, value)

    def _returned(self, run: Run, plan: Plan, value: object) -> Outcome:
        if plan.effective.ignore_result or not self._books.keeps_records:
            return Returned(None)
        try:
            plain = plan.task.binding.result_to_wire(value)
            return Returned(encode_value(plain, max_bytes=self._max_payload))
        except (NotEncodable, PayloadTooLarge) as error:
            return self._refused(run, Reason.RESULT_ENCODE_ERROR, error)

    def settle(self, run: Run, outcome: Outcome) -> None:
        """Decide what becomes of *run* and hand it on. Once: later calls change nothing."""
        if run.outcome is not None:
            return
        run.outcome = outcome
        run.ended_ms = now_ms = self._clock.wall_ms()
        roll = self._dice.roll() if isinstance(outcome, Failed) else 0.0
        run.settlement = decide(outcome, run, self._books, now_ms=now_ms, roll=roll)
        self._conclude(run)
        run.let_go()

    def _parked(self, run: Run, reason: Reason, error: Exception) -> Outcome:
        told = error_of(error, 0, self._clock.wall_ms())
        return park(run.delivery, reason, told, limit_ms=self._park_limit_ms)

    def _refused(
        self, run: Run, reason: Reason, error: Exception, *, claims_id: bool = True
    ) -> Refused:
        attempt = run.delivery.attempt if run.started_ms else 0
        told = error_of(error, attempt, self._clock.wall_ms())
        return Refused(reason=reason, error=told, claims_id=claims_id)


def _is_the_end_of_the_loop(run: Run, error: BaseException) -> bool:
    """True when somebody other than Stem or the task tears down what runs it."""
    if isinstance(error, GeneratorExit):
        return True
    cancelled = isinstance(error, asyncio.CancelledError) and run.cause is None
    return cancelled and run.carrier is not None and run.carrier.cancelling() > 0

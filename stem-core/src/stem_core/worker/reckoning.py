"""What a call of a task's function came to, as data: its value, or what it raised.

Rule of this module: it looks at values and exceptions and calls nothing. It serves the
worker and its children alike, so a task ends the same wherever it runs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from stem_core.contracts.clock import Clock
from stem_core.contracts.messages import Settlement
from stem_core.model.codec import encode_value
from stem_core.model.errors import NotEncodable, PayloadTooLarge, StemError
from stem_core.model.outcome import Reason, Record
from stem_core.model.value import replace
from stem_core.worker.decide import Books, decide
from stem_core.worker.failures import error_of, outcome_of
from stem_core.worker.outcomes import Outcome, Refused, Returned
from stem_core.worker.plans import Plan
from stem_core.worker.run import Run

__all__ = ["Reckoning"]

_log = logging.getLogger("stem.worker")


class Reckoning:
    """Turns what a function did into outcomes.

    Args:
        books: what is written down.
        max_payload: most bytes of a result.
        seal: signs records; None where nobody does.
    """

    def __init__(
        self,
        books: Books,
        clock: Clock,
        *,
        max_payload: int,
        seal: Callable[[Record], Record] | None = None,
    ) -> None:
        self._books = books
        self._clock = clock
        self._max_payload = max_payload
        self._seal = seal

    def returned(self, run: Run, plan: Plan, value: object) -> Outcome:
        """It returned *value*, which may be nothing that can be kept."""
        try:
            return self._kept(plan, value)
        except (NotEncodable, PayloadTooLarge) as error:
            return self.refused(run, Reason.RESULT_ENCODE_ERROR, error)

    def _kept(self, plan: Plan, value: object) -> Returned:
        if plan.effective.ignore_result or not self._books.keeps_records:
            return Returned(None)
        plain = plan.task.binding.result_to_wire(value)
        return Returned(encode_value(plain, max_bytes=self._max_payload))

    def raised(self, run: Run, error: BaseException) -> Outcome:
        """It raised *error*, perhaps because Stem had told it to end."""
        return outcome_of(
            error,
            cause=run.cause,
            cancel_reason=run.cancel_reason,
            attempt=run.delivery.attempt,
            now_ms=self._clock.wall_ms(),
        )

    def refused(self, run: Run, reason: Reason, error: Exception) -> Refused:
        """It can never be run, or its result never kept."""
        attempt = run.delivery.attempt if run.started_ms else 0
        return Refused(reason=reason, error=error_of(error, attempt, self._clock.wall_ms()))

    def succeeded(self, run: Run, value: object) -> tuple[Returned, Settlement]:
        """Return what *run* would end with if its function returned *value*: for a task that
        settles itself, in a transaction of its own.

        Raises:
            NotEncodable, PayloadTooLarge: *value* cannot be kept.
        """
        assert run.plan is not None  # its function is being called
        returned = self._kept(run.plan, value)
        settlement = decide(returned, run, self._books, now_ms=self._clock.wall_ms(), roll=0.0)
        assert settlement is not None  # a success always has one
        return returned, self.sealed(settlement)

    def sealed(self, settlement: Settlement) -> Settlement:
        """Return *settlement* with its record signed, where somebody signs."""
        if self._seal is None or settlement.record is None:
            return settlement
        try:
            return replace(settlement, record=self._seal(settlement.record))
        except StemError as error:  # readers decide what a result without a signature is worth
            _log.error("the result of %s is not signed: %s", settlement.record.id, error)
            return settlement

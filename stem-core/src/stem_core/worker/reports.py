"""What a worker tells observers. When nobody listens, none of it is built."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from stem_core.contracts.clock import Clock
from stem_core.contracts.losses import Loss
from stem_core.contracts.messages import DeadLetter, Message, RetryLater, SettleStatus
from stem_core.contracts.observer import Event
from stem_core.model.errors import Fault, StoreError
from stem_core.observe.events import Observers
from stem_core.producer.publishing import enqueued
from stem_core.worker.outcomes import (
    Discarded,
    Failed,
    Handed,
    Outcome,
    Refused,
    Returned,
    Stopped,
)
from stem_core.worker.run import Run

__all__ = ["Reports"]

_log = logging.getLogger("stem.worker")

_KEPT: Final = (SettleStatus.DONE, SettleStatus.ALREADY)


class Reports:
    """Turns what happens into events."""

    def __init__(
        self, observers: Observers, clock: Clock, worker: str, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._observers = observers
        self._is_heard = bool(observers)
        self._clock = clock
        self._worker = worker
        self._loop = loop

    def worker(self, name: str, **detail: Any) -> None:
        """Tell of the worker itself."""
        if self._is_heard:
            at_ms = self._clock.wall_ms()
            self._observers.emit(Event(name=name, at_ms=at_ms, worker=self._worker, detail=detail))

    def store_failed(self, during: str, error: Exception) -> None:
        """Tell of a call that failed: to ``fetch``, to ``settle`` or to ``renew``."""
        fault = error.fault if isinstance(error, StoreError) else Fault.RECONNECT
        self.worker("store-failed", during=during, fault=fault.value)

    def broker_lost(self, error: StoreError) -> None:
        """Tell, and log, that the broker is away."""
        _log.error("the broker is away: %s", error)
        self.worker("broker-lost", fault=error.fault.value)

    def broker_back(self) -> None:
        """Tell, and log, that it is there again."""
        _log.info("the broker is back")
        self.worker("broker-back")

    def lost(self, loss: Loss, count: int) -> None:
        """Tell what the broker has found to be lost; it has logged that."""
        if loss is Loss.EVERYTHING:
            self.worker("store-emptied")
        else:
            self.worker("messages-vanished", count=count)

    # ── from the thread of the lease keeper ──────────────────────────────────

    def leases_renewed(self, count: int) -> None:
        """Tell how many leases one call has renewed."""
        if self._is_heard and count:
            self._soon(partial(self.worker, "leases-renewed", count=count))

    def renewal_failed(self, error: Exception) -> None:
        """Tell of a call that has renewed none."""
        if self._is_heard:
            self._soon(partial(self.store_failed, "renew", error))

    def _soon(self, tell: partial[None]) -> None:
        with contextlib.suppress(RuntimeError):  # the worker's loop is closed, and all with it
            self._loop.call_soon_threadsafe(tell)

    # ── of one delivery ──────────────────────────────────────────────────────

    def started(self, run: Run) -> None:
        """Tell that a task's function is about to be called."""
        if self._is_heard:
            detail = {"wait_ms": _waited_ms(run)}
            if run.delivery.lapses:
                detail["lapses"] = run.delivery.lapses
            if run.delivery.releases:
                detail["releases"] = run.delivery.releases
            self._emit("task-started", run, detail)

    def settled(self, runs: Sequence[Run], status: SettleStatus) -> None:
        """Tell how deliveries came out, once the store has them, and log of those it has not."""
        if status not in _KEPT:
            for run in runs:
                _log.warning("%s %s", run.label, _lost(run, status))
        if self._is_heard:
            for run in runs:
                self._settled(run, status)
                if status in _KEPT and run.settlement is not None:
                    for message in (*run.published_apart, *run.settlement.follow_ups):
                        self.enqueued(run, message)

    def enqueued(self, run: Run, message: Message) -> None:
        """Tell of a follow-up of *run* that was published; once, whichever way it went first."""
        if self._is_heard and message.id not in run.announced:
            run.announced |= {message.id}
            self._observers.emit(enqueued(message, self._clock.wall_ms()))

    def _settled(self, run: Run, status: SettleStatus) -> None:
        is_orphan = _is_orphan(run, status)
        if status not in _KEPT and not is_orphan:
            self._emit("lease-lost", run, {"settle": status.value})
            return
        name, detail = _told(run)
        if run.started_ms:
            detail["run_ms"] = run.ended_ms - run.started_ms
        if is_orphan:
            detail["orphan"] = True
        self._emit(name, run, detail)

    def dropped(self, run: Run) -> None:
        """Tell that a lease was lost while the task ran."""
        if self._is_heard:
            self._emit("lease-lost", run, {})

    def _emit(self, name: str, run: Run, detail: dict[str, Any]) -> None:
        if run.plan is not None:
            detail.setdefault("tries", run.plan.effective.max_retries + 1)
        message = run.delivery.message
        self._observers.emit(
            Event(
                name=name,
                at_ms=self._clock.wall_ms(),
                task_id=message.id,
                task=message.task,
                queue=message.queue,
                attempt=run.delivery.attempt,
                worker=self._worker,
                detail=detail,
            )
        )


def _lost(run: Run, status: SettleStatus) -> str:
    if not _is_orphan(run, status):
        return f"was not settled by this worker: {status.value}"
    count = len(run.settlement.follow_ups) if run.settlement is not None else 0
    and_what = f", and {count} follow-ups of it are lost" if count else ""
    return f"has ended, but its store has lost its message; its record is kept{and_what}"


def _is_orphan(run: Run, status: SettleStatus) -> bool:
    """True when its record is kept, though its message is gone."""
    return run.is_orphan and status is SettleStatus.GONE


def _waited_ms(run: Run) -> int:
    """How long it has waited since it was due, or since it was enqueued."""
    envelope = run.envelope
    if envelope is None:
        return 0
    due_ms = envelope.enqueued_at_ms + (envelope.delay_ms or 0)
    return max(0, run.started_ms - max(due_ms, envelope.not_before_ms or 0))


def _told(run: Run) -> tuple[str, dict[str, Any]]:
    outcome, settled = run.outcome, run.settlement and run.settlement.outcome
    if isinstance(outcome, Refused) and not outcome.claims_id:
        # Nothing has happened to the task of that id: somebody wrote a message.
        key_id = run.delivery.message.key_id[:128]
        about = {"reason": outcome.reason.value, "key_id": key_id}
        return "message-refused", {**about, **_error(outcome)}
    if isinstance(settled, DeadLetter):
        return "task-failed", {"reason": settled.reason.value, **_error(outcome)}
    if isinstance(settled, RetryLater):
        return "task-retried", {"after_ms": settled.after_ms, **_error(outcome)}
    match outcome:
        case Discarded(reason):
            return "task-succeeded", {"discarded": reason}
        case Stopped(reason):
            return "task-cancelled", {"reason": reason}
        case Handed(why, after_ms, reason):
            return "task-released", {"why": why.value, "after_ms": after_ms, "reason": reason}
        case Returned() | _:
            return "task-succeeded", {}


def _error(outcome: Outcome | None) -> dict[str, Any]:
    error = outcome.error if isinstance(outcome, Failed | Refused) else None
    if error is None:
        return {}
    kind = error.type.rpartition(".")[2]
    return {"error": f"{kind}: {error.message}"[:500], "traceback": error.traceback}

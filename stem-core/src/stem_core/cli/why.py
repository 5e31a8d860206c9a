"""Why a task does not run, or has not finished: facts in, plain sentences out.

Rule of this module: pure. The first sentence is the answer; those that follow say
what else stands in the way, what has happened before, and what to do.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Final

from attrs import field, frozen

from stem_core.cli.moments import moment, span
from stem_core.cli.strangers import error_line
from stem_core.cli.terminal import count_of, visible
from stem_core.contracts.admin import QueueStats
from stem_core.contracts.messages import Located, Place
from stem_core.model.outcome import Reason, State, TaskError, TaskStatus

__all__ = ["Because", "Facts", "why"]

_LONGEST_ERROR: Final = 200
_LIVE_AGAIN: Final = "Its record still tells of the end before that replay."

_REASONS: Final = {
    Reason.MAX_RETRIES_EXHAUSTED: "it failed, and no retry was left",
    Reason.POISON: "too many workers in a row died or stalled while they ran it",
    Reason.SIGNATURE_MISSING: "it was not signed, and workers demand a signature",
    Reason.SIGNATURE_INVALID: "its signature does not vouch for it",
    Reason.DECODE_ERROR: "no worker could read it",
    Reason.ARGUMENTS_MISMATCH: "its arguments do not fit the function",
    Reason.RESULT_ENCODE_ERROR: "what it returned could not be stored",
    Reason.UNREGISTERED_TASK: "no worker knew a task of this name, for too long",
    Reason.EXPIRED: "its time was over before it could start",
    Reason.TIMED_OUT: "it ran for longer than it may",
    Reason.REJECTED: "it was rejected, so that a person looks at it",
}

_IN_VAIN: Final = {
    Reason.EXPIRED: "A replay would expire at once: enqueue it anew.",
    Reason.SIGNATURE_MISSING: "A replay keeps its bytes, and would be refused again: let the "
    "producer sign, and enqueue it anew.",
}
_FIRST: Final = {
    Reason.SIGNATURE_INVALID: "First give the workers the key that it was signed with, "
    "and be sure that you trust who sent it.",
    Reason.DECODE_ERROR: "First start workers of the release that wrote it.",
    Reason.ARGUMENTS_MISMATCH: "First start workers whose function takes these arguments.",
    Reason.UNREGISTERED_TASK: "First start a worker that has this task.",
}

_ENDS: Final = {
    State.SUCCEEDED: "It has succeeded",
    State.FAILED: "It failed for good",
    State.DEAD: "It died",
    State.CANCELLED: "It was cancelled",
    State.DISCARDED: "It ended as discarded: there was nothing to do any more",
    State.EXPIRED: "It expired: no worker started it in time",
}


@frozen(kw_only=True)
class Facts:
    """What is known of one task at one moment.

    Attributes:
        id: of the task.
        status: what its record says, or else where it was; None if nobody knows it.
        located: where the broker holds it; None if it does not.
        queue: statistics of its queue; None if the broker gives none.
        at, namespace: where it was looked for.
        remembers: there is a result backend.
        now_ms: the time of the day.
    """

    id: str
    status: TaskStatus | None = None
    located: Located | None = None
    queue: QueueStats | None = None
    at: str = "the broker"
    namespace: str = "stem"
    remembers: bool = True
    now_ms: int


@frozen
class Because:
    """One sentence, safe to print; *code* says to programs what it is about."""

    code: str
    text: str = field(converter=visible)


def why(facts: Facts) -> tuple[Because, ...]:
    """Say why the task does not run or has not finished, the answer first."""
    located = facts.located
    if located is None:
        return tuple(_gone(facts))
    return (*_held(facts, located), *_history(facts, located), *_advice(facts, located))


def _held(facts: Facts, located: Located) -> Iterator[Because]:
    match located.place:
        case Place.DEAD:
            return _dead(facts, located)
        case Place.LEASED:
            return _leased(facts, located)
        case Place.READY | Place.DELAYED | Place.PARKED:
            return _waiting(facts, located)


# ── what the broker does not hold ────────────────────────────────────────────


def _gone(facts: Facts) -> Iterator[Because]:
    status = facts.status
    if status is None:
        yield from _unknown(facts)
    elif not status.state.is_terminal:
        yield Because(
            "lost",
            f"Its record says {status.state.value}, but the broker does not hold it: it has ended "
            "since without a record, or the store has lost it.",
        )
    else:
        yield from _ended(status, facts)


def _unknown(facts: Facts) -> Iterator[Because]:
    yield Because(
        "unknown",
        f"Nobody knows a task {facts.id} at {facts.at}, in the namespace {facts.namespace!r}: it "
        "was never enqueued there, or it has ended and is forgotten.",
    )
    if not facts.remembers:
        yield Because("forgetful", "There is no result backend, so no end of a task is remembered.")


def _ended(status: TaskStatus, facts: Facts) -> Iterator[Because]:
    finished = status.finished_at
    at = moment(round(finished.timestamp() * 1000), facts.now_ms) if finished else ""
    when = f", at {at}" if at else ""
    by = f" by worker {status.worker}" if status.worker else ""
    tries = f", in attempt {status.attempt}{by}" if status.attempt else ""
    said = f": {status.reason}" if status.reason else ""
    yield Because("ended", f"{_ENDS[status.state]}{when}{tries}{said}.")
    if status.error is not None and status.state is not State.SUCCEEDED:
        yield Because("error", f"Its last error: {_told(status.error)}.")
    if status.state is State.DEAD:
        yield Because(
            "letter-gone",
            "Its dead letter is gone: discarded, or kept for long enough. It cannot be "
            "replayed; enqueue it anew.",
        )


# ── what the broker holds ────────────────────────────────────────────────────


def _dead(facts: Facts, located: Located) -> Iterator[Because]:
    at = moment(located.died_at_ms, facts.now_ms)
    reason = _reason(located)
    meaning = f": {_REASONS[reason]}" if reason else ""
    since = f", since {at}" if at else ""
    yield Because("dead", f"It is dead{since}, by reason of {located.reason}{meaning}.")


def _leased(facts: Facts, located: Located) -> Iterator[Because]:
    worker = located.worker or "without a name"
    if located.lease_ms > 0:
        left = span(located.lease_ms)
        told = f"Worker {worker} runs it, attempt {located.attempt}; its lease has {left} left."
        yield Because("leased", told)
    else:
        yield Because(
            "lease-over",
            f"Worker {worker} has let its lease lapse, in attempt {located.attempt}: it died or "
            "stalled. The next worker that asks for work of this queue takes the task over.",
        )
        yield from _paused(facts)
    if located.cancel_requested:
        yield Because(
            "cancel-requested",
            f"Somebody asked to cancel it{_quoted(located.cancel_reason)}: its worker learns of it "
            "when it renews the lease, and stops a task that lets itself be stopped.",
        )


def _waiting(facts: Facts, located: Located) -> Iterator[Because]:
    yield from _paused(facts)
    yield from _doomed(facts, located)
    match located.place:
        case Place.DELAYED:
            yield _delayed(facts, located)
        case Place.PARKED:
            yield _parked(facts, located)
        case _:
            yield from _ready(facts, located)
    if located.message.expires_at_ms > facts.now_ms:
        until = moment(located.message.expires_at_ms, facts.now_ms)
        yield Because("expires", f"It expires if no worker starts it before {until}.")


def _paused(facts: Facts) -> Iterator[Because]:
    if facts.queue is not None and facts.queue.paused:
        queue = facts.queue.queue
        yield Because(
            "paused",
            f"Its queue {queue} is paused, and no worker is given anything of it. "
            f"Let it go on with: stem queues resume {shlex.quote(queue)}",
        )


def _doomed(facts: Facts, located: Located) -> Iterator[Because]:
    """Say what will end it without a run, as soon as a worker takes it."""
    message, next_one = located.message, "the next worker that takes it"
    if 0 < message.expires_at_ms <= facts.now_ms:
        over = f"Its time was over at {moment(message.expires_at_ms, facts.now_ms)}"
        yield Because("expired", f"{over}: {next_one} ends it without a run.")
    if located.lapses >= message.max_lapses:
        yield Because("poison", f"{next_one.capitalize()} moves it to the dead letters, as poison.")
    if located.cancel_requested:
        asked = f"Somebody asked to cancel it{_quoted(located.cancel_reason)}"
        yield Because("cancel-requested", f"{asked}: {next_one} ends it without a run.")


def _delayed(facts: Facts, located: Located) -> Because:
    at = moment(located.run_at_ms, facts.now_ms)
    if located.run_at_ms <= facts.now_ms:
        return Because(
            "due",
            f"It is due since {at}: the next worker that asks for work of the queue "
            f"{located.message.queue} makes it ready. If it stays so, no worker serves that queue.",
        )
    if located.attempt:
        return Because("retry", f"It waits for its next attempt, until {at}.")
    if located.releases:
        return Because("handed-back", f"A worker handed it back until {at}; nothing has failed.")
    return Because("delayed", f"It is delayed until {at}.")


def _parked(facts: Facts, located: Located) -> Because:
    message = located.message
    at = moment(located.run_at_ms, facts.now_ms)
    return Because(
        "parked",
        f"It is parked, and tried again from {at} on: the worker that took it could not run it, "
        f"most likely because it has no task {message.task}; its log says so. Start a worker of "
        f"the queue {message.queue} that has it; after STEM_PARK_LIMIT it is dead.",
    )


def _ready(facts: Facts, located: Located) -> Iterator[Because]:
    queue, name = facts.queue, located.message.queue
    if queue is None:
        yield Because("ready", f"It is ready in the queue {name}; how full that is, is not known.")
        return
    others = max(0, queue.ready - 1)
    if not others:
        yield Because("ready", f"It is ready, and the only ready task of the queue {name}.")
    else:
        oldest = f"; the first has waited for {span(queue.oldest_ms)}" if queue.oldest_ms else ""
        yield Because(
            "behind",
            f"It is ready, behind up to {count_of(others, 'other')} in the queue {name}{oldest}. "
            f"Its priority is {located.message.priority}, and higher ones go first.",
        )
    yield from _served(queue)


def _served(queue: QueueStats) -> Iterator[Because]:
    if queue.leased:
        are = "is" if queue.leased == 1 else "are"
        running = f"{count_of(queue.leased, 'task')} of it {are} running"
        yield Because("served", f"Workers serve that queue: {running}.")
    elif not queue.paused:
        serve = f"stem worker APP --queues {shlex.quote(queue.queue)}"
        text = "Nothing of that queue is running. If it stays so, no worker serves it; start one: "
        yield Because("unserved", text + serve)


# ── what has happened before ─────────────────────────────────────────────────


def _history(facts: Facts, located: Located) -> Iterator[Because]:
    if located.lapses:
        yield Because(
            "lapsed",
            f"Its lease has lapsed {count_of(located.lapses, 'time')} in a row, and "
            f"{located.message.max_lapses} make it poison: workers died or stalled while they "
            "ran it.",
        )
    if located.errors:
        at = moment(located.errors[-1].at_ms, facts.now_ms)
        last = f"Its last error{f', at {at}' if at else ''}: {_told(located.errors[-1])}."
        failed = located.attempt - (located.place is Place.LEASED)
        yield Because("failed", f"{count_of(failed, 'attempt')} failed. {last}" if failed else last)
    is_over = facts.status is not None and facts.status.state.is_terminal
    if is_over and located.place is not Place.DEAD:
        yield Because("replayed", _LIVE_AGAIN)


def _advice(facts: Facts, located: Located) -> Iterator[Because]:
    if located.place is not Place.DEAD:
        return
    reason = _reason(located)
    if reason in _IN_VAIN:
        yield Because("in-vain", _IN_VAIN[reason])
        return
    if reason in _FIRST:
        yield Because("first", _FIRST[reason])
    yield Because("replay", f"Put it back with: stem dlq replay {shlex.quote(facts.id)}")


def _reason(located: Located) -> Reason | None:
    return next((each for each in Reason if each.value == located.reason), None)


def _told(error: TaskError) -> str:
    return error_line(error, _LONGEST_ERROR).rstrip(".")


def _quoted(reason: str) -> str:
    return f" ({reason})" if reason else ""

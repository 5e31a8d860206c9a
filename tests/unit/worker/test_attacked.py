"""What hostile and broken tasks, and stores that refuse, must not do to a worker."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from unit.worker.given import a_message
from unit.worker.stores import FaultyBroker
from unit.worker.test_settler import Scene

from stem_core.contracts.messages import Place, ReleaseWhy, Settled, SettleStatus
from stem_core.model.errors import (
    Discard,
    Fault,
    Reject,
    Retry,
    Snooze,
    SoftTimeLimitExceeded,
    StoreError,
)
from stem_core.model.outcome import MAX_ERROR_TEXT, Reason, State
from stem_core.model.value import replace
from stem_core.worker.failures import outcome_of
from stem_core.worker.outcomes import Cause, Discarded, Failed, Handed, Refused


def of(error: BaseException, cause: Cause | None = None) -> Any:
    try:
        raise error
    except BaseException as raised:
        return outcome_of(raised, cause=cause, attempt=2, now_ms=5)


class Unspeakable:
    """A reason that raises *second* when it is asked for its text."""

    def __init__(self, second: BaseException) -> None:
        self.second = second

    def __str__(self) -> str:
        raise self.second


class Mute(Exception):
    def __str__(self) -> str:
        raise self.args[0]


class Hidden(type):
    def __getattribute__(cls, name: str) -> Any:
        if name in ("__module__", "__qualname__", "__mro__"):
            raise SystemExit(name)
        return type.__getattribute__(cls, name)


class HasNoName(Exception, metaclass=Hidden):
    pass


class HasNoClass(Exception):
    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        raise SystemExit(4)


class HasNoTraceback(Exception):
    def __getattribute__(self, name: str) -> Any:
        raise KeyboardInterrupt


class OddText(str):
    def __len__(self) -> int:
        raise SystemExit(5)

    encode = None  # type: ignore[assignment]  # the point of it


class SpeaksOddly(Exception):
    def __str__(self) -> str:
        return OddText("odd")


# Made inside the tests: what runs the tests looks at its parameters too.
SECONDS = [
    lambda: SystemExit(3),
    lambda: KeyboardInterrupt(),
    lambda: RuntimeError("x"),
    lambda: HasNoName(),
]
HIDDEN = [lambda: HasNoName("x"), lambda: HasNoClass("x"), lambda: HasNoTraceback("x")]


@pytest.mark.parametrize("second", SECONDS)
@pytest.mark.parametrize("kind", [Mute, lambda error: ValueError(Unspeakable(error))])
def test_whatever_the_text_of_an_error_raises_is_no_more_than_a_missing_text(kind, second):
    outcome = of(kind(second()))
    assert isinstance(outcome, Failed)
    assert outcome.error.message.startswith("<no text")


@pytest.mark.parametrize("hidden", HIDDEN)
@pytest.mark.parametrize("cause", [None, Cause.HARD_LIMIT])
def test_an_error_that_cannot_be_looked_at_is_a_failure(hidden, cause):
    assert isinstance(of(hidden(), cause), Failed)


def test_an_error_without_a_name_is_called_so():
    outcome = of(HasNoName("what it says"))
    assert (outcome.error.type, outcome.error.message) == ("stem.nameless", "what it says")


def test_a_text_that_is_no_plain_one_is_made_one():
    message = of(SpeaksOddly()).error.message
    assert (message, type(message)) == ("odd", str)


@pytest.mark.parametrize(
    ("signal", "kind"),
    [
        (Discard(Unspeakable(SystemExit(3))), Discarded),  # type: ignore[arg-type]
        (Snooze(1, reason=Unspeakable(RuntimeError())), Handed),  # type: ignore[arg-type]
        (Reject(Unspeakable(KeyboardInterrupt())), Refused),  # type: ignore[arg-type]
        (Retry(1, reason=Unspeakable(SystemExit(3))), Failed),  # type: ignore[arg-type]
    ],
)
def test_a_signal_counts_though_its_reason_has_no_text(signal, kind):
    assert isinstance(of(signal), kind)


HUGE = "x" * 20_000_000


@pytest.mark.parametrize(
    "reason_of",
    [
        lambda text: of(Discard(text)).reason,
        lambda text: of(Snooze(1, reason=text)).reason,
        lambda text: of(Reject(text)).error.message,
        lambda text: of(Retry(reason=text)).error.message,
    ],
)
def test_reasons_are_bounded_and_escaped_as_errors_are(reason_of):
    assert len(reason_of(HUGE)) < MAX_ERROR_TEXT + 10
    assert reason_of("\ud800\0") == "\\ud800\\x00"


@pytest.mark.parametrize(("after", "waits_ms"), [(0, 100), (0.001, 100), ("5s", 5_000)])
def test_a_snooze_is_never_too_short_to_be_a_pause(after, waits_ms):
    assert of(Snooze(after)) == Handed(ReleaseWhy.SNOOZE, waits_ms)


def test_a_cancellation_that_nobody_asked_for_says_so():
    outcome = of(asyncio.CancelledError())
    assert outcome.error.type == "asyncio.exceptions.CancelledError"
    assert "not by Stem" in outcome.error.message
    assert of(asyncio.CancelledError("my own words")).error.message == "my own words"


def test_a_hard_limit_is_a_time_out_whatever_was_raised_at_it():
    outcome = of(HasNoTraceback(), Cause.HARD_LIMIT)
    assert outcome.timed_out
    assert outcome.error_names[0].endswith(SoftTimeLimitExceeded.__name__)


# ── two stores ───────────────────────────────────────────────────────────────


def test_a_success_that_is_saved_does_not_end_in_the_dead_letters_too(caplog):
    scene = Scene(atomic=False)
    good, bad = a_message(id="good"), a_message(id="bad", priority=10)

    async def main():
        (run,) = await scene.leased(1)
        run.settlement = replace(run.settlement, follow_ups=(good, bad))
        await scene.settle([run])
        (record,) = await scene.backend.load(["id-0"])
        return record, await scene.broker.lookup(["id-0", "good", "bad"])

    record, (first, second, third) = asyncio.run(main())
    assert record.state is State.SUCCEEDED
    assert first is None or first.reason != Reason.RESULT_ENCODE_ERROR.value
    assert (second is not None, third) == (True, None)
    assert scene.done == [("id-0", SettleStatus.DONE)]
    assert "1 follow-ups of work (id-0) are lost" in caplog.text


class TakesNoAck(FaultyBroker):
    async def settle(self, settlements):
        assert all(each.outcome == settlements[0].outcome for each in settlements)
        self.outcomes = [*getattr(self, "outcomes", ()), settlements[0].outcome]
        return [Settled(SettleStatus.INVALID, "never") for _ in settlements]


def test_an_end_that_is_saved_and_refused_all_the_same_is_not_made_another_one():
    scene = Scene(atomic=False)
    scene.broker.__class__ = TakesNoAck

    async def main():
        await scene.settle(await scene.leased(1))
        (record,) = await scene.backend.load(["id-0"])
        return record and record.state

    assert asyncio.run(main()) is State.SUCCEEDED
    assert [type(each).__name__ for each in scene.broker.outcomes] == ["Ack"]
    assert scene.done == [("id-0", SettleStatus.INVALID)]


class CannotKeep(FaultyBroker):
    """A store that has no word for what is wrong with one message but an error."""

    async def publish(self, messages):
        if any(message.id == "bad" for message in messages):
            raise StoreError("a NUL in a column", fault=Fault.DATA)
        return await super().publish(messages)

    async def settle(self, settlements):
        if any(each.follow_ups for each in settlements):
            return [Settled(SettleStatus.INVALID, "a follow-up") for _ in settlements]
        return await super().settle(settlements)


def test_a_follow_up_that_a_store_cannot_keep_is_not_tried_for_ever():
    scene = Scene()
    scene.broker.__class__ = CannotKeep

    async def main():
        (run,) = await scene.leased(1)
        run.settlement = replace(
            run.settlement, follow_ups=(a_message(id="good"), a_message(id="bad"))
        )
        await scene.settle([run])
        return await scene.broker.lookup(["id-0", "good", "bad"])

    parent, good, bad = asyncio.run(main())
    assert (parent.place, parent.reason) == (Place.DEAD, Reason.RESULT_ENCODE_ERROR.value)
    assert (good is not None, bad) == (True, None)
    assert scene.done == [("id-0", SettleStatus.DONE)]

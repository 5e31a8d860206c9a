"""The rules, without a network: what a step decides, and what it would write."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from nats_broker.draft import Draft, TooLarge
from nats_broker.ledger import Ledger, noted
from nats_broker.values import Entry, decode, name_of
from nats_broker.view import View

import stem_core.plugin as stem
from stem_core.plugin import Place, PublishStatus, SettleStatus

START_MS = 1_000_000
ROOM = 1024 * 1024


class Stream:
    """A view, and a server that takes every step: it numbers and stamps what is written."""

    def __init__(self) -> None:
        self.view, self.now_ms, self.last = View(), START_MS, 0

    def draft(self) -> Draft:
        return Draft(self.view, self.now_ms, ROOM)

    def store(self, draft: Draft) -> None:
        for change in draft.changes.values():
            self.last += 1
            self.view.apply(decode(change.data), self.last, self.now_ms)

    def publish(self, *messages: stem.Message) -> list[PublishStatus]:
        draft = self.draft()
        replies = [Ledger(draft, ROOM).publish(message) for message in messages]
        self.store(draft)
        return [reply.status for reply in replies]

    def take(self, count: int = 1) -> list[stem.Delivery]:
        draft = self.draft()
        taken = Ledger(draft, ROOM).lease(self.view.free(["q"], count, self.now_ms), "w")
        self.store(draft)
        return taken

    def settle(self, settlement: stem.Settlement) -> SettleStatus:
        draft = self.draft()
        reply = Ledger(draft, ROOM).settle(settlement)
        self.store(draft)
        return reply.status

    def entry(self, id: str) -> Entry | None:
        return self.draft().entry(id)


@pytest.fixture
def stream() -> Stream:
    return Stream()


def message(id: str = "m", body: bytes = b"{}", **more: object) -> stem.Message:
    return stem.replace(stem.Message(id=id, queue="q", task="t", body=body), **more)


def end(delivery: stem.Delivery, outcome: stem.SettleOutcome = stem.ACK) -> stem.Settlement:
    return stem.Settlement(receipt=delivery.receipt, outcome=outcome)


# ── fences and time ──────────────────────────────────────────────────────────


def test_the_fence_of_a_forgotten_id_goes_on_above_the_old_ones(stream: Stream) -> None:
    stream.publish(message(dedupe_for_ms=1000))
    fences = []
    for _ in range(3):
        (delivery,) = stream.take()
        fences.append(delivery.receipt.fence)
        stream.settle(end(delivery, stem.Release(0, stem.ReleaseWhy.EARLY)))
    (delivery,) = stream.take()
    stream.settle(end(delivery))
    stream.now_ms += 1001
    assert stream.publish(message(dedupe_for_ms=1000)) == [PublishStatus.CREATED]
    (anew,) = stream.take()
    assert anew.receipt.fence > delivery.receipt.fence > max(fences)


def test_a_lease_runs_from_the_stamp_of_the_server_and_not_from_the_decision(
    stream: Stream,
) -> None:
    stream.publish(message(lease_ms=500))
    draft = stream.draft()
    Ledger(draft, ROOM).lease(["m"], "w")
    stream.now_ms += 60_000  # the process stood still before it wrote
    stream.store(draft)
    entry = stream.entry("m")
    assert entry is not None
    assert entry.due_ms == stream.now_ms + 500


def test_a_delay_runs_from_the_stamp_of_the_server(stream: Stream) -> None:
    draft = stream.draft()
    Ledger(draft, ROOM).publish(message(delay_ms=500))
    stream.now_ms += 60_000
    stream.store(draft)
    assert stream.take() == []
    stream.now_ms += 500
    assert len(stream.take()) == 1


def test_a_dead_letter_becomes_a_known_id_and_then_nothing(stream: Stream) -> None:
    stream.publish(message(dedupe_for_ms=300))
    (delivery,) = stream.take()
    stream.settle(end(delivery, stem.DeadLetter(stem.Reason.REJECTED, keep_ms=200)))
    places = []
    for _ in range(3):
        entry = stream.entry("m")
        places.append(entry and entry.place)
        stream.now_ms += 250
    assert places == [Place.DEAD, None, None]
    assert stream.entry("m") is None
    assert stream.publish(message()) == [PublishStatus.CREATED]


# ── what is written, and what the server must check ──────────────────────────


def test_what_a_step_writes_itself_needs_no_newer_view(stream: Stream) -> None:
    draft = stream.draft()
    Ledger(draft, ROOM).publish(message())
    assert draft.is_proven


def test_an_answer_that_writes_nothing_is_not_proven(stream: Stream) -> None:
    stream.publish(message())
    verbs: list[Callable[[Ledger], object]] = [
        lambda ledger: ledger.publish(message()),
        lambda ledger: ledger.lookup("m"),
        lambda ledger: ledger.cancel(stem.Cancellation(id="?")),
        lambda ledger: ledger.extend(stem.Extension(stem.Receipt("m", "q", 9), 100)),
        lambda ledger: ledger.settle(stem.Settlement(receipt=stem.Receipt("m", "q", 9))),
    ]
    for verb in verbs:
        draft = stream.draft()
        verb(Ledger(draft, ROOM))
        assert not draft.is_proven
        assert not draft.changes


def test_a_settlement_that_is_refused_leaves_nothing_in_the_step(stream: Stream) -> None:
    stream.publish(message(), message("known", b"1"))
    delivery = next(each for each in stream.take(2) if each.message.id == "m")
    draft = stream.draft()
    follow_ups = (message("new"), message("known", b"another"))
    reply = Ledger(draft, ROOM).settle(
        stem.Settlement(receipt=delivery.receipt, follow_ups=follow_ups)
    )
    assert reply.status is SettleStatus.INVALID
    assert not draft.changes


def test_a_settlement_with_more_follow_ups_than_a_batch_holds_is_invalid(stream: Stream) -> None:
    stream.publish(message())
    (delivery,) = stream.take()
    many = tuple(message(f"f{n}") for n in range(1000))
    status = stream.settle(stem.Settlement(receipt=delivery.receipt, follow_ups=many))
    assert status is SettleStatus.INVALID
    assert stream.entry("f0") is None
    fewer = stem.Settlement(receipt=delivery.receipt, follow_ups=many[:999])
    assert stream.settle(fewer) is SettleStatus.DONE


def test_a_message_that_has_ended_keeps_a_digest_of_its_body_and_not_the_body(
    stream: Stream,
) -> None:
    stream.publish(message(body=b"x" * 10_000))
    (delivery,) = stream.take()
    draft = stream.draft()
    Ledger(draft, ROOM).settle(end(delivery))
    assert len(draft.changes[name_of(Entry, "m")].data) < 1000
    stream.store(draft)
    again = stream.publish(message(body=b"x" * 10_000), message(body=b"y"))
    assert again == [PublishStatus.DUPLICATE, PublishStatus.CONFLICT]


def test_a_value_that_no_message_of_the_server_holds_is_refused(stream: Stream) -> None:
    draft = Draft(stream.view, stream.now_ms, 500)
    with pytest.raises(TooLarge):
        draft.put(Entry(message(body=b"x" * 500)))
    assert not draft.changes


# ── errors ───────────────────────────────────────────────────────────────────


def test_the_last_twenty_errors_are_kept() -> None:
    errors: tuple[stem.TaskError, ...] = ()
    for attempt in range(1, 26):
        errors = noted(errors, stem.TaskError(type="E", attempt=attempt))
    assert [error.attempt for error in errors] == list(range(6, 26))


def test_where_errors_are_too_long_the_oldest_lose_their_tracebacks() -> None:
    errors: tuple[stem.TaskError, ...] = ()
    for attempt in range(1, 21):
        long = stem.TaskError(type="E", message="m", traceback="t" * 16_000, attempt=attempt)
        errors = noted(errors, long)
    assert [error.attempt for error in errors] == list(range(1, 21))
    has_one = [bool(error.traceback) for error in errors]
    assert has_one == sorted(has_one)
    assert 10 < sum(has_one) < 20

"""What is sent to the scripts, and what their replies mean."""

from __future__ import annotations

import pytest

from stem_core.plugin import (
    ACK,
    DeadLetter,
    ExtendStatus,
    Extension,
    Message,
    PublishStatus,
    Reason,
    Receipt,
    Record,
    Release,
    ReleaseWhy,
    RetryLater,
    Settlement,
    SettleOutcome,
    SettleStatus,
    State,
    TaskError,
)
from stem_redis import objections, publishing, settling
from stem_redis.taking import read_taken

RECEIPT = Receipt("m", "q", 7)


def message(id: str = "m", **fields: object) -> Message:
    return Message(**{"id": id, "queue": "q", "task": "t", "body": b"{}", **fields})  # type: ignore[arg-type]


# ── publish ──────────────────────────────────────────────────────────────────


def test_each_message_is_four_arguments():
    args = publishing.arguments([message("a"), message("b", delay_ms=5)])
    assert (len(args), args[0], args[4], args[2], args[6]) == (8, "a", "b", "", "+5")


def test_one_number_means_that_all_were_created():
    replies = publishing.replies([message("a"), message("b")], 0)
    assert [(r.status, r.id) for r in replies] == [
        (PublishStatus.CREATED, "a"),
        (PublishStatus.CREATED, "b"),
    ]


def test_other_replies_come_one_by_one_with_holder_or_reason():
    sent = [message(id) for id in "abcde"]
    replies = publishing.replies(sent, [0, b"", 1, b"", 2, b"holder", 3, b"", 4, b"why"])
    assert [(r.status.value, r.id, r.reason) for r in replies] == [
        ("created", "a", ""),
        ("duplicate", "b", ""),
        ("unique", "holder", ""),
        ("conflict", "d", ""),
        ("refused", "e", "why"),
    ]


def test_what_can_never_be_kept_is_not_sent_and_keeps_its_position():
    batch = [message("a"), message("bad", priority=10), message("c")]
    sent, refused = publishing.judged(batch)
    assert [each.id for each in sent] == ["a", "c"]
    replies = publishing.merged(3, refused, publishing.replies(sent, 0))
    assert [(r.id, r.status.value) for r in replies] == [
        ("a", "created"),
        ("bad", "refused"),
        ("c", "created"),
    ]


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (message(body=b"x" * (objections.MAX_PAYLOAD + 1)), "bytes"),
        (message(priority=-1), "priority -1"),
        (message(lease_ms=0), "lease of 0"),
        (message(lease_ms=1.5), "lease of 1.5"),
        (message(delay_ms=objections.MAX_DELAY_MS + 1), "delay"),
        (message("\ud800"), "surrogate"),
        (message(queue="q" * 70_000), "70000 bytes"),
    ],
)
def test_an_objection_names_what_is_wrong(bad: Message, says: str):
    assert says in objections.objection_to(bad)


# ── settle ───────────────────────────────────────────────────────────────────

ERROR = TaskError(type="E", attempt=3)


@pytest.mark.parametrize(
    ("outcome", "letter", "more"),
    [
        (ACK, "a", 0),
        (RetryLater(5, ERROR), "t", 2),
        (DeadLetter(Reason.REJECTED, ERROR), "b", 4),
        (Release(5, ReleaseWhy.SHUTDOWN), "l", 1),
        (Release(5, ReleaseWhy.PARKED), "p", 1),
        (Release(5, ReleaseWhy.SNOOZE), "s", 1),
    ],
)
def test_an_outcome_is_a_letter_and_what_belongs_to_it(
    outcome: SettleOutcome, letter: str, more: int
):
    args, objected = settling.settle_arguments([Settlement(receipt=RECEIPT, outcome=outcome)])
    assert (args[:3], len(args)) == (["m", 7, letter], 3 + more)
    assert objected == {}


def test_record_and_follow_ups_stand_behind_the_outcome():
    record = Record(id="m", state=State.SUCCEEDED, fence=7, ttl_ms=9)
    args, _ = settling.settle_arguments(
        [Settlement(receipt=RECEIPT, record=record, follow_ups=(message("f"),))]
    )
    assert args[2:6] == ["aRF", 7, 1, 9]
    assert args[7:9] == [1, "f"]
    assert len(args) == 12


@pytest.mark.parametrize(
    ("settlement", "says"),
    [
        (Settlement(receipt=RECEIPT, record=Record(id="x", state=State.DEAD)), "that of x"),
        (Settlement(receipt=RECEIPT, outcome=RetryLater(10**15)), "a wait of"),
        (Settlement(receipt=RECEIPT, follow_ups=(message("f", priority=11),)), "follow-up f"),
        (
            Settlement(receipt=RECEIPT, follow_ups=(message("f"), message("f", body=b"2"))),
            "another body",
        ),
        (
            Settlement(receipt=RECEIPT, record=Record(id="m", state=State.DEAD, value=b"no json")),
            "",
        ),
    ],
)
def test_what_can_never_be_kept_is_sent_as_nothing_but_its_receipt(
    settlement: Settlement, says: str
):
    args, objected = settling.settle_arguments([settlement])
    assert args == ["m", 7, "i"]
    (reply,) = settling.settle_replies([5, b""], objected)
    assert reply.status is SettleStatus.INVALID
    assert says in reply.detail
    assert reply.detail


def test_replies_to_settlements_come_in_order():
    reply = [0, b"", 1, b"", 2, b"", 3, b"", 5, b"f "]
    read = settling.settle_replies(reply, {})
    assert [each.status.value for each in read] == ["done", "already", "stale", "gone", "invalid"]
    assert "follow-up f" in read[-1].detail


def test_replies_to_extensions_say_how_long_is_left():
    wishes = [Extension(RECEIPT, ms) for ms in (5, 6, 7)]
    assert settling.extend_arguments(wishes)[:3] == ["m", 7, 5]
    read = settling.extend_replies(wishes, [0, b"", 1, b"", 2, b"why"])
    assert [(r.status, r.remaining_ms, r.cancel_reason) for r in read] == [
        (ExtendStatus.LOST, 0, ""),
        (ExtendStatus.HELD, 6, ""),
        (ExtendStatus.CANCEL_REQUESTED, 7, "why"),
    ]


# ── fetch ────────────────────────────────────────────────────────────────────


def test_a_fetch_that_found_nothing_says_when_to_look_and_where_wakes_stand():
    taken = read_taken(["a", "b"], [0, 1000, 1500, b"1-0", b"0-0"])
    assert (taken.look_again_ms, taken.cursors) == (500, {"a": "1-0", "b": "0-0"})
    assert list(taken.deliveries) == []


def test_a_fetch_tells_what_has_vanished():
    taken = read_taken(["a"], [1, 1000, b"x y"])
    assert (list(taken.deliveries), list(taken.vanished)) == ([], ["x", "y"])

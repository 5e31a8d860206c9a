"""Why a task does not run: for each state of things one plain answer, and it comes first."""

from __future__ import annotations

from typing import Any

import pytest

from stem_core.cli.why import Facts, why
from stem_core.contracts.admin import QueueStats
from stem_core.contracts.messages import Located, Message, Place
from stem_core.model.outcome import Reason, State, TaskError, TaskStatus, when

NOW_MS = 1_900_000_000_000  # 2030-03-17 17:46:40 UTC
MINUTE_MS = 60_000
ERROR = TaskError(type="ValueError", message="boom", attempt=2, at_ms=NOW_MS - MINUTE_MS)
BUSY = QueueStats(queue="mail", ready=4, leased=3, oldest_ms=3 * MINUTE_MS)


def message(**more: Any) -> Message:
    return Message(id="job-1", queue="mail", task="mail.send", body=b"{}", **more)


def held(place: Place, *, of: Message | None = None, **more: Any) -> Located:
    return Located(place=place, message=of or message(), **more)


def told(located: Located | None = None, **more: Any) -> dict[str, str]:
    """Return the sentences by code, in order."""
    facts = Facts(**{"id": "job-1", "located": located, "now_ms": NOW_MS, **more})
    return {each.code: each.text for each in why(facts)}


# ── what the broker does not hold ────────────────────────────────────────────


def test_a_task_that_nobody_knows_was_never_here_or_is_forgotten() -> None:
    sentences = told(at="redis://localhost", namespace="shop")
    assert list(sentences) == ["unknown"]
    assert "Nobody knows a task job-1 at redis://localhost" in sentences["unknown"]
    assert "in the namespace 'shop'" in sentences["unknown"]


def test_where_nobody_remembers_that_is_said() -> None:
    assert "no result backend" in told(remembers=False)["forgetful"]


@pytest.mark.parametrize(
    ("state", "answer"),
    [
        (State.SUCCEEDED, "It has succeeded, at 2030-03-17 17:45:40Z (1m ago), in attempt 2 by"),
        (State.FAILED, "It failed for good"),
        (State.CANCELLED, "It was cancelled"),
        (State.DISCARDED, "It ended as discarded"),
        (State.EXPIRED, "It expired: no worker started it in time"),
        (State.DEAD, "It died"),
    ],
)
def test_a_task_that_has_ended_is_told_with_its_end(state: State, answer: str) -> None:
    finished = when(NOW_MS - MINUTE_MS)
    status = TaskStatus(id="job-1", state=state, attempt=2, worker="w-1", finished_at=finished)
    assert told(status=status)["ended"].startswith(answer)


def test_an_end_is_told_with_its_reason_and_its_error() -> None:
    status = TaskStatus(id="job-1", state=State.CANCELLED, reason="a mistake", error=ERROR)
    sentences = told(status=status)
    assert sentences["ended"] == "It was cancelled: a mistake."
    assert sentences["error"] == "Its last error: ValueError: boom."


def test_a_dead_task_without_a_dead_letter_cannot_be_replayed() -> None:
    status = TaskStatus(id="job-1", state=State.DEAD, reason="poison")
    sentences = told(status=status)
    assert sentences["ended"] == "It died: poison."
    assert "enqueue it anew" in sentences["letter-gone"]
    assert "replay" not in sentences


def test_a_live_record_without_a_message_is_a_loss() -> None:
    sentences = told(status=TaskStatus(id="job-1", state=State.QUEUED))
    assert list(sentences) == ["lost"]
    assert "Its record says queued, but the broker does not hold it" in sentences["lost"]


# ── dead ─────────────────────────────────────────────────────────────────────


def test_a_dead_letter_is_told_with_its_reason_its_error_and_the_way_back() -> None:
    died = NOW_MS - MINUTE_MS
    located = held(
        Place.DEAD, reason="max-retries-exhausted", attempt=2, died_at_ms=died, errors=(ERROR,)
    )
    sentences = told(located)
    assert list(sentences) == ["dead", "failed", "replay"]
    assert sentences["dead"] == (
        "It is dead, since 2030-03-17 17:45:40Z (1m ago), by reason of max-retries-exhausted: "
        "it failed, and no retry was left."
    )
    assert sentences["failed"].startswith("2 attempts failed. Its last error, at 2030-03-17")
    assert sentences["failed"].endswith("ValueError: boom.")
    assert sentences["replay"] == "Put it back with: stem dlq replay job-1"


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_is_put_into_words(reason: Reason) -> None:
    sentences = told(held(Place.DEAD, reason=reason.value))
    assert f"by reason of {reason.value}: " in sentences["dead"]


def test_a_reason_of_a_later_release_is_told_as_it_is() -> None:
    assert told(held(Place.DEAD, reason="bored"))["dead"] == "It is dead, by reason of bored."


@pytest.mark.parametrize("reason", ["expired", "signature-missing"])
def test_a_replay_in_vain_is_not_advised(reason: str) -> None:
    sentences = told(held(Place.DEAD, reason=reason))
    assert "enqueue it anew" in sentences["in-vain"]
    assert "replay" not in sentences


@pytest.mark.parametrize(
    "reason",
    ["signature-invalid", "decode-error", "unregistered-task"],
)
def test_what_would_die_again_is_told_what_to_do_before_the_replay(reason: str) -> None:
    assert list(told(held(Place.DEAD, reason=reason))) == ["dead", "first", "replay"]


# ── leased ───────────────────────────────────────────────────────────────────


def test_a_leased_task_runs_at_its_worker() -> None:
    sentences = told(held(Place.LEASED, worker="w-1", attempt=2, lease_ms=24_000), queue=BUSY)
    assert sentences == {
        "leased": "Worker w-1 runs it, attempt 2; its lease has 24s left.",
    }


def test_a_lease_that_has_lapsed_is_the_worker_s_end() -> None:
    sentences = told(held(Place.LEASED, worker="w-1", attempt=1, lease_ms=0), queue=BUSY)
    assert list(sentences) == ["lease-over"]
    assert "it died or stalled" in sentences["lease-over"]


def test_nobody_takes_over_from_a_dead_worker_while_the_queue_is_paused() -> None:
    paused = QueueStats(queue="mail", leased=1, paused=True)
    assert list(told(held(Place.LEASED, lease_ms=0), queue=paused)) == ["lease-over", "paused"]
    assert "paused" not in told(held(Place.LEASED, lease_ms=9_000), queue=paused)


def test_a_running_task_that_shall_stop_learns_it_at_the_next_renewal() -> None:
    located = held(
        Place.LEASED, worker="w", lease_ms=9, cancel_requested=True, cancel_reason="too dear"
    )
    assert "Somebody asked to cancel it (too dear)" in told(located)["cancel-requested"]


def test_leases_that_lapsed_in_a_row_are_counted_against_their_limit() -> None:
    sentences = told(held(Place.LEASED, worker="w", lease_ms=9, lapses=2))
    assert "Its lease has lapsed 2 times in a row, and 5 make it poison" in sentences["lapsed"]


def test_only_attempts_that_are_over_count_as_failed() -> None:
    located = held(Place.LEASED, worker="w", lease_ms=9, attempt=3, errors=(ERROR,))
    assert told(located)["failed"].startswith("2 attempts failed.")


# ── waiting ──────────────────────────────────────────────────────────────────


def test_a_paused_queue_is_the_first_answer() -> None:
    paused = QueueStats(queue="mail", ready=1, paused=True)
    sentences = told(held(Place.READY), queue=paused)
    assert list(sentences) == ["paused", "ready"]
    assert sentences["paused"].endswith("stem queues resume mail")


def test_a_ready_task_waits_behind_others_of_its_queue() -> None:
    sentences = told(held(Place.READY, of=message(priority=3)), queue=BUSY)
    assert list(sentences) == ["behind", "served"]
    assert "behind up to 3 others in the queue mail" in sentences["behind"]
    assert "the first has waited for 3m" in sentences["behind"]
    assert "Its priority is 3" in sentences["behind"]
    assert sentences["served"] == "Workers serve that queue: 3 tasks of it are running."


def test_a_queue_of_which_nothing_runs_may_have_no_worker() -> None:
    sentences = told(held(Place.READY), queue=QueueStats(queue="mail", ready=1))
    assert list(sentences) == ["ready", "unserved"]
    assert "the only ready task of the queue mail" in sentences["ready"]
    assert sentences["unserved"].endswith("stem worker APP --queues mail")


def test_a_broker_without_statistics_says_less() -> None:
    assert list(told(held(Place.READY))) == ["ready"]


def test_a_delayed_task_waits_for_its_time() -> None:
    located = held(Place.DELAYED, run_at_ms=NOW_MS + 2 * MINUTE_MS)
    assert told(located) == {"delayed": "It is delayed until 2030-03-17 17:48:40Z (in 2m)."}


def test_a_task_that_failed_waits_for_its_next_attempt() -> None:
    located = held(Place.DELAYED, run_at_ms=NOW_MS + MINUTE_MS, attempt=2, errors=(ERROR,))
    sentences = told(located)
    assert list(sentences) == ["retry", "failed"]
    assert "until 2030-03-17 17:47:40Z (in 1m)" in sentences["retry"]


def test_a_task_that_was_handed_back_has_not_failed() -> None:
    located = held(Place.DELAYED, run_at_ms=NOW_MS + MINUTE_MS, releases=1)
    assert "nothing has failed" in told(located)["handed-back"]


def test_a_task_that_is_due_and_not_taken_may_have_no_worker() -> None:
    located = held(Place.DELAYED, run_at_ms=NOW_MS - MINUTE_MS)
    assert "It is due since" in told(located)["due"]
    assert "no worker serves that queue" in told(located)["due"]


def test_a_parked_task_needs_a_worker_that_knows_it() -> None:
    sentences = told(held(Place.PARKED, run_at_ms=NOW_MS + 8_000, releases=3))
    assert list(sentences) == ["parked"]
    assert "it has no task mail.send" in sentences["parked"]
    assert "(in 8s)" in sentences["parked"]


def test_a_task_whose_time_is_over_is_ended_by_its_next_worker() -> None:
    located = held(Place.READY, of=message(expires_at_ms=NOW_MS))
    sentences = told(located, queue=BUSY)
    assert list(sentences) == ["expired", "behind", "served"]
    assert "ends it without a run" in sentences["expired"]


def test_a_task_that_will_expire_says_when() -> None:
    located = held(Place.READY, of=message(expires_at_ms=NOW_MS + MINUTE_MS))
    sentences = told(located)
    assert list(sentences) == ["ready", "expires"]
    assert "(in 1m)" in sentences["expires"]


def test_a_poisoned_task_is_moved_to_the_dead_letters_next() -> None:
    sentences = told(held(Place.READY, lapses=5))
    assert list(sentences) == ["poison", "ready", "lapsed"]


def test_a_waiting_task_that_shall_stop_is_ended_by_its_next_worker() -> None:
    sentences = told(held(Place.READY, cancel_requested=True))
    assert sentences["cancel-requested"].startswith("Somebody asked to cancel it: the next worker")


def test_a_record_from_before_a_replay_is_said_to_be_old() -> None:
    status = TaskStatus(id="job-1", state=State.DEAD)
    assert list(told(held(Place.READY), status=status)) == ["ready", "replayed"]
    assert "replayed" not in told(held(Place.DEAD, reason="poison"), status=status)


# ── strangers ────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("place", list(Place))
def test_whatever_a_stranger_wrote_is_printable(place: Place) -> None:
    hostile = "\x1b[2J\n\u202e"
    located = Located(
        place=place,
        message=Message(
            id="job-1", queue=hostile, task=hostile, body=b"", expires_at_ms=2**62, max_lapses=1
        ),
        attempt=1,
        lapses=1,
        run_at_ms=2**62,
        worker=hostile,
        cancel_requested=True,
        cancel_reason=hostile,
        reason=hostile,
        died_at_ms=2**62,
        errors=(TaskError(type=hostile, message=hostile, at_ms=2**62),),
    )
    sentences = told(located, queue=QueueStats(queue=hostile, ready=2, paused=True))
    assert all(text.isprintable() for text in sentences.values())

"""What a worker whose loop is lost leaves behind."""

from __future__ import annotations

from unit.worker.given import NOW_MS, a_delivery, a_message, a_run

from stem_core.contracts.clock import SYSTEM_CLOCK, SYSTEM_DICE
from stem_core.contracts.messages import ACK, DeadLetter, Release, ReleaseWhy, Settlement
from stem_core.model.outcome import Reason
from stem_core.worker.decide import Books
from stem_core.worker.handover import last_wills, let_go
from stem_core.worker.outcomes import Cause
from stem_core.worker.run import Run


def wills_of(*runs: Run, culprit: Run | None = None, at_ms: int = NOW_MS) -> list[Run]:
    return list(last_wills(runs, culprit, Books(), now_ms=at_ms, roll=0.0))


def outcome(run: Run):
    assert run.settlement is not None
    return run.settlement.outcome


def test_what_had_not_finished_is_handed_back_without_blame():
    (will,) = wills_of(a_run())
    assert outcome(will) == Release(0, ReleaseWhy.SHUTDOWN)


def test_what_had_finished_is_settled_as_it_came_out_and_may_have_been_before():
    run = a_run()
    run.settlement = Settlement(receipt=run.delivery.receipt, outcome=ACK)
    (will,) = wills_of(run, culprit=run)
    assert outcome(will) is ACK
    assert will.is_sent_again


def test_the_culprit_is_left_to_its_lease_so_that_its_lapses_are_counted():
    culprit, other = a_run(), a_run()
    (will,) = wills_of(culprit, other, culprit=culprit)
    assert will.delivery is other.delivery


def test_a_culprit_whose_hard_limit_is_over_has_failed():
    culprit = a_run(hard_time_limit="10s", max_retries=0, delivery=a_delivery(message=a_message()))
    assert wills_of(culprit, culprit=culprit, at_ms=NOW_MS + 9_000) == []
    (will,) = wills_of(culprit, culprit=culprit, at_ms=NOW_MS + 10_000)
    buried = outcome(will)
    assert isinstance(buried, DeadLetter)
    assert buried.reason is Reason.TIMED_OUT


def test_nothing_is_settled_whose_lease_is_somebody_else_s():
    run = a_run()
    run.cause = Cause.LEASE_LOST
    assert wills_of(run) == []


class Nowhere:
    """A lane whose stores cannot even be opened."""

    @property
    def broker(self):
        raise ZeroDivisionError

    backend = None
    atomic = True


def test_a_store_that_fails_does_not_keep_a_process_alive(caplog):
    let_go([a_run()], None, Nowhere(), Books(), SYSTEM_CLOCK, SYSTEM_DICE)  # type: ignore[arg-type]
    assert "nothing could be handed back" in caplog.text
    assert "0 of 1 deliveries" in caplog.text


def test_the_runs_themselves_stay_as_they_are():
    run = a_run()
    wills_of(run)
    assert run.settlement is None
    assert run.outcome is None

from __future__ import annotations

import pytest
from unit.worker.given import a_plan, an_envelope, registry

from stem_core.model.options import Defaults
from stem_core.worker.plans import Plans


def test_an_async_function_runs_in_the_loop_and_a_plain_one_in_a_thread():
    assert not a_plan("work").in_thread
    assert a_plan("plain").in_thread


@pytest.mark.parametrize(("isolation", "in_thread"), [("inline", False), ("thread", True)])
@pytest.mark.parametrize("task", ["work", "plain"])
def test_the_isolation_of_the_call_is_honoured(task, isolation, in_thread):
    assert a_plan(task, isolation=isolation).in_thread is in_thread


def test_an_unknown_task_has_no_plan():
    assert Plans(registry, Defaults()).of(an_envelope(task="elsewhere")) is None


def test_equal_options_share_one_plan():
    plans = Plans(registry, Defaults())
    first = plans.of(an_envelope(options={"max_retries": 5}))
    again = plans.of(an_envelope(options={"max_retries": 5}))
    other = plans.of(an_envelope(options={"max_retries": 6}))
    assert first is again
    assert other is not None
    assert first is not None
    assert (first.effective.max_retries, other.effective.max_retries) == (5, 6)


@pytest.mark.parametrize(
    ("task", "options", "says"),
    [
        ("plain", {"hard_limit_ms": 5}, ""),
        ("work", {"rate_limit": "5/s"}, "rate_limit"),
        ("work", {"ack_early": True}, "ack_early"),
    ],
)
def test_what_this_worker_cannot_do_is_said_and_not_ignored(task, options, says):
    options = {"hard_time_limit_ms": 5000} if "hard_limit_ms" in options else options
    plan = Plans(registry, Defaults()).of(an_envelope(task=task, options=options))
    assert plan is not None
    assert plan.complaint
    assert says in plan.complaint


def test_a_process_is_a_complaint_where_none_could_import_the_application():
    given = an_envelope(options={"isolation": "process"})
    refusing = Plans(registry, Defaults(), no_processes="nobody holds the Stem").of(given)
    assert refusing is not None
    assert refusing.complaint == "nobody holds the Stem"
    plan = Plans(registry, Defaults()).of(given)
    assert plan is not None
    assert (plan.complaint, plan.in_process, plan.is_plain) == ("", True, False)


def test_a_process_can_have_a_hard_limit_whatever_the_function_is():
    for task in ("work", "plain"):
        plan = a_plan(task, isolation="process", hard_time_limit=5)
        assert (plan.complaint, plan.is_limited, plan.in_thread) == ("", True, False)


def test_any_plan_can_be_had_in_a_process_instead():
    plan = a_plan("work", soft_time_limit=5)
    apart = plan.isolated()
    assert (apart.in_process, apart.in_thread, apart.is_plain) == (True, False, False)
    assert (apart.task, apart.effective) == (plan.task, plan.effective)
    assert a_plan("work").is_plain
    assert not a_plan("work").isolated().is_plain


def test_a_plain_function_in_the_loop_can_have_no_time_limit():
    plan = a_plan("plain", isolation="inline", soft_time_limit=1)
    assert "inline" in plan.complaint

"""From trials to verdicts: one that is broken breaks its promise, and nothing is passed over."""

from __future__ import annotations

from stem_core.cli.verdicts import DECLARATION, LEVELS, Kept, Trial, judge

SENTENCES = {"FETCH-1": "A message goes to one taker.", "FETCH-2": "Order."}


def trial(*ids: str, verdict: Kept = "kept", level: str = "core", why: str = "") -> Trial:
    return Trial("test_it", ids, level, verdict, why)


def test_a_promise_is_kept_when_all_its_trials_are() -> None:
    (core,) = judge([trial("FETCH-1"), trial("FETCH-1", "FETCH-2")], SENTENCES, ["core"])
    assert core.verdict == "kept"
    assert [(each.id, each.trials) for each in core.promises] == [("FETCH-1", 2), ("FETCH-2", 1)]
    assert core.promises[0].sentence == "A message goes to one taker."


def test_one_broken_trial_breaks_the_promise_and_the_level() -> None:
    broken = trial("FETCH-1", verdict="broken", why="twice")
    (core,) = judge([trial("FETCH-1"), broken, trial("FETCH-2")], SENTENCES, ["core"])
    assert core.verdict == "broken"
    (promise,) = core.of("broken")
    assert (promise.id, promise.trials, promise.failures) == ("FETCH-1", 2, (broken,))
    assert [each.id for each in core.of("kept")] == ["FETCH-2"]


def test_what_is_left_out_in_part_is_kept_and_what_is_left_out_says_why() -> None:
    left_out = trial("FETCH-2", verdict="not claimed", why="priority")
    (core,) = judge([trial("FETCH-1"), trial("FETCH-1", verdict="not run"), left_out], SENTENCES, ["core"])  # fmt: skip  # noqa: E501
    assert [each.verdict for each in core.promises] == ["kept", "not claimed"]
    assert core.promises[1].why == "priority"
    assert core.promises[1].trials == 0


def test_a_level_counts_its_own_trials_and_one_without_any_was_not_run() -> None:
    verdicts = judge([trial("FETCH-1"), trial("FETCH-1", level="lease", verdict="broken")], {})
    assert [each.level for each in verdicts] == list(LEVELS)
    assert [each.verdict for each in verdicts[:3]] == ["kept", "broken", "not run"]


def test_a_trial_of_no_promise_is_about_what_is_declared() -> None:
    line = {"test": "t", "ids": [], "level": "core", "verdict": "broken", "why": "lacks it"}
    (core,) = judge([Trial.of(line)], SENTENCES, ["core"])
    assert core.promises == ()
    assert (core.verdict, core.declaration) == ("broken", core.broken[0])
    assert core.broken[0].id == DECLARATION
    told = core.to_json()
    assert told["declaration"]["failures"] == [{"test": "t", "why": "lacks it"}]


def test_what_is_declared_counts_as_no_promise() -> None:
    declared = Trial("test_it", (DECLARATION,), "core", "kept")
    (core,) = judge([trial("FETCH-1"), declared], SENTENCES, ["core"])
    assert [each.id for each in core.of("kept")] == ["FETCH-1"]


def test_a_promise_of_which_a_test_was_not_run_is_kept_in_part() -> None:
    left_out = trial("FETCH-1", verdict="not run", why="it needs room")
    trials = [trial("FETCH-1"), left_out, trial("FETCH-2", verdict="not run")]
    (core,) = judge(trials, SENTENCES, ["core"])
    assert [each.id for each in core.in_part] == ["FETCH-1"]
    assert core.in_part[0].to_json()["not_run"] == [{"test": "test_it", "why": "it needs room"}]

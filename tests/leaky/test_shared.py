"""The kit finds the bugs that only a kill or a freeze brings to light."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from leaky.shared import BUGS

from stem_core.testing import ChaosContract
from stem_core.testing.contract.promise import promises_of

TESTS = str(Path(__file__).parents[1])

FOUND = {
    "ack-at-fetch": (
        "test_what_killed_consumers_held_is_taken_up_in_time_and_ends_once",
        r"\d+ lost: ",
    ),
    "never-lapses": (
        "test_what_killed_consumers_held_is_taken_up_in_time_and_ends_once",
        "not ended within",
    ),
    "two-steps": (
        "test_a_kill_inside_a_settlement_leaves_the_whole_of_it_or_nothing",
        "never taken up again",
    ),
    "one-by-one": (
        "test_what_a_killed_producer_was_told_is_there_and_each_call_is_whole",
        "messages of one call are there",
    ),
    "no-fence": (
        "test_a_consumer_frozen_beyond_its_leases_can_do_nothing_to_them",
        "its settlements: {",
    ),
}
"""By bug: the test that has to fail, and what it has to say."""


@pytest.mark.parametrize("bug", FOUND)
def test_the_kit_finds_a_bug_that_takes_a_second_process(
    bug: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEM_PLUGINS", "leaky.shared")
    monkeypatch.setenv("PYTHONPATH", TESTS)
    case, (test, told) = ChaosContract(), FOUND[bug]
    case.seed = 7
    case.backend_url = f"sqlite:///{tmp_path}/tasks.db"
    with pytest.raises(AssertionError, match=told) as caught:
        getattr(case, test)(f"leakyfile:///{tmp_path}/tasks.db?bug={bug}")
    assert f"(seed {case.seed})" in str(caught.value)


def test_every_bug_is_found_by_some_test() -> None:
    assert FOUND.keys() == BUGS.keys() - {""}


def test_without_a_bug_it_is_certified_while_processes_are_killed_and_frozen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEM_PLUGINS", "leaky.shared")
    monkeypatch.setenv("PYTHONPATH", TESTS)
    url = f"leakyfile:///{tmp_path}/tasks.db?bug="
    given = [url, "--backend", f"sqlite:///{tmp_path}/tasks.db", "--level", "chaos", "--seed", "7"]
    given += ["--jobs", "2"]
    run = subprocess.run(
        [sys.executable, "-m", "stem_core", "certify", *given, "--json"],
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    verdict = json.loads(run.stdout)
    assert verdict["seed"] == 7
    (level,) = verdict["levels"]
    assert {each["verdict"] for each in level["promises"]} == {"kept"}
    assert {each["id"] for each in level["promises"]} == promises_of(ChaosContract)

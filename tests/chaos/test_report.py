"""Figures are shown as they were measured, and a broken promise as broken."""

from __future__ import annotations

from chaos.report import BEGIN, END, Row, quantiles, rendered, replaced
from chaos.scale import SEED, TRIALS, Scale

from stem_core.testing.faults.checker import Findings, too_late


def row(**facts) -> Row:
    found = Findings(**{"accepted": 3_000, **facts.pop("found", {})})
    return Row(id="X1", fault="a fault", broker="sqlite", trials=20, found=found, **facts)


def test_a_row_shows_what_was_found() -> None:
    found = {"started_twice": ("a",), "in_flight": 7}
    told = rendered([row(found=found, times_ms=(1, 2, 3), bound="≤ IN_FLIGHT")], {"seed": "1"})
    assert "- seed: 1" in told
    assert "| X1 | a fault | sqlite | 20 | 3,000 | 0 | 1 | 0 | " in told
    assert "2 / 3 / 3 | ≤ 7 | kept |" in told
    assert "fewer than 1 in 1,000" in told


def test_a_broken_promise_is_shown_and_nothing_is_concluded_from_it() -> None:
    told = rendered([row(found={"lost": ("a",)}, complaints=("1 lost: a",))], {})
    assert "| broken: 1 lost: a |" in told
    assert "95 %" not in told


def test_only_the_generated_part_of_a_page_is_replaced() -> None:
    assert replaced(f"before\n{BEGIN}\nold\n{END}\nafter\n", f"{BEGIN}new{END}") == (
        f"before\n{BEGIN}new{END}\nafter\n"
    )


def test_quantiles_are_times_that_were_measured() -> None:
    assert quantiles(range(1, 101)) == (50.5, 95, 100)
    assert quantiles([4.0]) == (4, 4, 4)


def test_a_time_above_its_bound_is_a_complaint() -> None:
    assert too_late([1, 2], 2, "x") == []
    assert too_late([1, 3], 2, "x") == ["x: 1 of 2 above 2 ms, 3 ms"]


def test_a_seed_draws_the_same_again_whatever_else_runs() -> None:
    one, other = (Scale.of({SEED: "7", TRIALS: "20"}) for _ in range(2))
    assert one.dice("A1").random() == other.dice("A1").random() != one.dice("A2").random()


def test_without_a_wish_the_trials_are_few_and_the_seed_is_new() -> None:
    one, other = Scale.of({}), Scale.of({})
    assert not one.is_long
    assert one.seed != other.seed


def test_the_figures_that_are_published_are_of_many_trials() -> None:
    scale = Scale.of({TRIALS: "20"})
    assert scale.is_long
    assert (scale.tasks, scale.rounds, scale.slack) == (5_000, 20, 1)

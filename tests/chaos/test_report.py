"""Figures are shown as they were measured, and a broken promise as broken."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from chaos.report import BEGIN, END, Figures, Row, quantiles, replaced, written
from chaos.scale import SEED, TRIALS, Scale

from stem_core.testing.faults.checker import Findings, too_late


def row(**facts) -> Row:
    found = Findings(**{"accepted": 3_000, **facts.pop("found", {})})
    usual = {"id": "X1", "fault": "a fault", "broker": "sqlite", "trials": 20}
    return Row(found=found, **{**usual, **facts})


def figures(*rows: Row, run: str = "today, seed 1") -> Figures:
    return Figures.of(rows, run, "2 cores")


def test_a_row_shows_what_was_found() -> None:
    found = {"started_twice": ("a",), "in_flight": 7, "torn": 2}
    told = figures(row(found=found, times_ms=(1, 2, 3), bound="≤ IN_FLIGHT")).rendered()
    assert "- run today, seed 1: 2 cores; 2 lines of its histories were torn by a kill" in told
    assert "| X1 | a fault | sqlite | 20 | 3,000 | 0 | 1 | 0 | " in told
    assert "2 / 3 / 3 | ≤ 7 | today, seed 1 | kept |" in told
    assert "fewer than 1 in 1,000" in told


def test_a_broken_promise_is_shown_and_nothing_is_concluded_from_it() -> None:
    told = figures(row(found={"lost": ("a",)}, complaints=("1 lost: a",))).rendered()
    assert "| broken: 1 lost: a |" in told
    assert "95 %" not in told


# ── a page that some rows are measured anew for ──────────────────────────────


def page_of(some: Figures) -> str:
    return f"before\n{some.rendered()}\nafter\n"


def test_what_stands_on_a_page_is_read_as_it_was_written() -> None:
    some = figures(row(id="A1", times_ms=(1, 2)), row(id="H1", complaints=("a | b",)))
    assert Figures.read(page_of(some)) == some


def test_rows_that_were_run_again_take_their_places_and_the_others_keep_date_and_seed() -> None:
    old = figures(row(id="A1"), row(id="A9", found={"accepted": 10}), run="old, seed 1")
    told = old.updated(figures(row(id="A9", found={"accepted": 20}), run="new, seed 2")).rendered()
    assert re.findall(r"^\| (A\d) .*\| (\w+, seed \d) \| kept \|$", told, re.MULTILINE) == [
        ("A1", "old, seed 1"),
        ("A9", "new, seed 2"),
    ]
    assert "Together: 3,020 accepted, 0 lost" in told
    assert re.findall(r"^- run (.*): 2 cores", told, re.MULTILINE) == ["new, seed 2", "old, seed 1"]


def test_a_run_of_which_no_row_is_left_is_not_told_of() -> None:
    old, new = (figures(row(id="A1"), run=run) for run in ("old, seed 1", "new, seed 2"))
    assert set(old.updated(new).runs) == {"new, seed 2"}


def test_a_row_that_is_no_row_of_this_page_is_not_passed_over() -> None:
    with pytest.raises(ValueError, match="row A1 has 3 cells"):
        Figures.read(f"{BEGIN}\n| A1 | a fault | kept |\n{END}")


def test_part_of_the_rows_can_be_written_and_the_page_says_what_it_lacks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(page_of(figures(row(id="A1"), run="old, seed 1")), "utf-8")
    said = written(page, figures(row(id="H1"), run="new, seed 2"), is_long=True)
    assert "1 rows of 2; it lacks A1-postgres, " in said
    text = page.read_text("utf-8")
    assert set(Figures.read(text).lines) == {"A1", "H1"}
    assert text.startswith("before\n")
    assert text.endswith("after\n")


@pytest.mark.parametrize(("id", "is_long", "why"), [
    ("A1", False, "few trials"), ("X1", True, "what is ['X1']?"),
])  # fmt: skip
def test_what_may_not_be_published_leaves_the_page_as_it_is(
    tmp_path: Path, id: str, is_long: bool, why: str
) -> None:
    page = tmp_path / "page.md"
    page.write_text(page_of(figures(row(id="A1"))), "utf-8")
    before = page.read_text("utf-8")
    assert why in written(page, figures(row(id=id, trials=1)), is_long=is_long)
    assert page.read_text("utf-8") == before


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

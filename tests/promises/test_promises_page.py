"""The page of promises: whole, current, and shown as it was proven."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from promises.filling import filled
from promises.page import BEGIN, END, rendered, written
from promises.stores import SIGNERS, STORES

from stem_core.cli.verdicts import LEVELS
from stem_core.testing.contract.promise import sentences

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
PART = PAGE.read_text("utf-8").partition(BEGIN)[2].partition(END)[0]


def cells_of(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def tables() -> Iterator[list[list[str]]]:
    """The tables of the part, each with its head first."""
    for text in PART.split("\n\n"):
        rows = [cells_of(line) for line in text.splitlines() if line.startswith("| ")]
        if rows:
            yield [row for row in rows if set(row) != {"---"}]


VERDICTS: dict[str, dict[str, str]] = {}
WORDS_OF: dict[str, str] = {}
for (what, _, *names), *rows in tables():
    for id, told, *verdicts in rows if what == "promise" else []:
        WORDS_OF[id], VERDICTS[id] = told, dict(zip(names, verdicts, strict=True))
REASONS = re.findall(r"^- \*\*([\w-]+)\*\*, .*: ([A-Z0-9, -]+)$", PART, re.MULTILINE)


# ── the page as it is ────────────────────────────────────────────────────────


def test_the_page_has_a_row_for_each_promise_of_the_contracts_in_its_own_words() -> None:
    assert {id: told.replace("\\|", "|") for id, told in WORDS_OF.items()} == sentences()


def test_no_promise_is_broken_and_what_was_not_run_has_a_reason() -> None:
    reasons = {(store, id) for store, ids in REASONS for id in ids.split(", ")}
    for id, verdicts in VERDICTS.items():
        for store, verdict in verdicts.items():
            is_whole = re.fullmatch(r"kept, \d+", verdict)
            assert is_whole or (store, id) in reasons, f"{id} of {store}: {verdict}"
            assert not verdict.startswith("broken"), f"{id} of {store}"


def test_the_page_says_of_each_store_and_signer_what_became_of_it() -> None:
    columns = {name for verdicts in VERDICTS.values() for name in verdicts}
    for name in [*(store.name for store in STORES), *SIGNERS]:
        assert name in columns or f"- **{name}**: not run" in PART


# ── how it is made ───────────────────────────────────────────────────────────

WORDS = {"A-1": "First.", "A-2": "This | that.", "A-10": "Last.", "SIGN-1": "Signed."}


def promise(
    id: str, verdict: str, trials: int = 0, why: str = "", not_run: str = ""
) -> dict[str, Any]:
    left_out = [{"test": "test_it", "why": not_run}] if not_run else []
    told = {"id": id, "verdict": verdict, "trials": trials, "why": why}
    return {**told, "not_run": left_out}


def certificate(**levels: tuple[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """What `stem certify` says; a level that is not named was not run."""
    told = {level: levels.get(level, ("not run", [])) for level in LEVELS}
    return {
        "levels": [
            {"level": level, "verdict": verdict, "promises": promises}
            for level, (verdict, promises) in told.items()
        ]
    }


GOOD = certificate(
    core=("kept", [promise("A-1", "kept", 2)]),
    lease=("kept", [promise("A-1", "kept", 1), promise("A-10", "kept", 1)]),
    chaos=("not claimed", [promise("A-2", "not claimed", why="multiprocess")]),
)
BAD = certificate(
    core=(
        "broken",
        [promise("A-1", "broken", 2), promise("A-2", "kept", 1, not_run="it needs room")],
    ),
    lease=("kept", [promise("A-1", "kept", 1)]),
    delay=("not run", [promise("A-10", "not run", why="it needs time")]),
)
SIGNER = certificate(core=("kept", [promise("SIGN-1", "kept", 4)]))


def lines_of(absent: dict[str, str] | None = None) -> list[str]:
    stores, signers = {"good": GOOD, "bad": BAD}, {"pen": SIGNER}
    told = rendered(stores, WORDS, absent or {}, {"seed": "7"}, signers)
    return told.splitlines()


def test_a_promise_is_told_over_all_its_levels_and_a_broken_one_stays_broken() -> None:
    lines = lines_of()
    assert "| A-1 | First. | kept, 3 | broken, 3 |" in lines
    assert "| A-2 | This \\| that. | not claimed | kept, 1; 1 not run |" in lines
    assert "| A-10 | Last. | kept, 1 | not run |" in lines
    assert "| SIGN-1 | Signed. | kept, 4 |" in lines


def test_a_level_counts_its_promises_or_names_those_that_are_broken() -> None:
    lines = lines_of()
    assert "| core | kept: 1 | broken: A-1 |" in lines
    assert "| chaos | not claimed | not run |" in lines


def test_what_was_left_out_is_told_with_its_reason() -> None:
    lines = lines_of({"far": "NOBODY names no server."})
    assert "- **far**: not run. NOBODY names no server." in lines
    assert "- **good**, chaos, not claimed, multiprocess: A-2" in lines
    assert "- **bad**, delay, not run, it needs time: A-10" in lines
    assert "- **bad**, core, not wholly run, it needs room: A-2" in lines


def trial(test: str, id: str, verdict: str = "kept", level: str = "core") -> dict[str, Any]:
    return {"test": test, "ids": [id], "verdict": verdict, "level": level}


def told_with(*trials: dict[str, Any]) -> list[str]:
    """The page of a store whose A-2 was tried in part and A-10 not at all, and *trials*."""
    by_url = certificate(
        core=("kept", [promise("A-2", "kept", 1, not_run="it needs room")]),
        delay=("not run", [promise("A-10", "not run", why="it needs time", not_run="time")]),
    )
    whole = filled({**by_url, "certified": True}, trials)
    return rendered({"good": whole}, WORDS, {}, {}, {}).splitlines()


def test_what_a_url_cannot_try_is_tried_by_tests_of_our_own() -> None:
    lines = told_with(
        trial("test_room[a]", "A-2"),
        trial("test_room[b]", "A-2"),
        trial("test_time", "A-10", level="delay"),
        trial("test_more", "A-1"),
    )
    assert "| A-2 | This \\| that. | kept, 2 |" in lines
    assert "| A-10 | Last. | kept, 1 |" in lines
    assert "| A-1 | First. | not run |" in lines  # nothing was missing there
    assert not any(line.startswith("- **good**") for line in lines)


def test_what_one_of_them_finds_broken_is_broken() -> None:
    lines = told_with(trial("test_room[a]", "A-2"), trial("test_room[b]", "A-2", "broken"))
    assert "| A-2 | This \\| that. | broken, 2 |" in lines
    assert "| core | broken: A-2 |" in lines


def test_what_they_could_not_try_either_stays_not_run() -> None:
    lines = told_with(trial("test_room", "A-2", "not run"))
    assert "| A-2 | This \\| that. | kept, 1; 1 not run |" in lines


def test_only_the_generated_part_is_replaced() -> None:
    page = f"a\n{BEGIN}\nold\n{END}\nz\n"
    assert written(page, f"{BEGIN}new{END}") == f"a\n{BEGIN}new{END}\nz\n"

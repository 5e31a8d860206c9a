"""Dead letters: which ones a command means, and how they are shown."""

from __future__ import annotations

from typing import Any

import pytest

from stem_core.cli.letters import Letter, Selection, letter_facts, letter_lines, listed
from stem_core.cli.terminal import Paint
from stem_core.contracts.messages import Located, Message, Place, UniqueKey
from stem_core.model.outcome import TaskError

NOW_MS = 1_900_000_000_000
HOUR_MS = 3_600_000
PLAIN = Paint(False)
ERROR = TaskError(type="ValueError", message="boom", traceback="T", attempt=4, at_ms=NOW_MS)


def dead(id: str = "job-1", **more: Any) -> Located:
    message = Message(
        id=id,
        queue="billing",
        task="billing.charge",
        body=b'{"amount":1}',
        key_id="ops-1",
        algorithm="ed25519",
        signature=b"s3cret-looking-bytes",
        unique=UniqueKey(key="cust-1"),
    )
    facts = {
        "place": Place.DEAD,
        "attempt": 4,
        "reason": "poison",
        "died_at_ms": NOW_MS - HOUR_MS,
        "errors": (ERROR,),
    }
    return Located(message=message, **{**facts, **more})


@pytest.mark.parametrize(
    ("selection", "is_meant"),
    [
        (Selection(), True),
        (Selection(queue="billing", reason="poison", task="billing.charge"), True),
        (Selection(queue="mail"), False),
        (Selection(reason="expired"), False),
        (Selection(queue="billing", task="mail.send"), False),
        (Selection(older_than_ms=HOUR_MS - 1), True),
        (Selection(older_than_ms=HOUR_MS), False),
    ],
)
def test_all_conditions_hold_at_once(selection: Selection, is_meant: bool) -> None:
    assert selection.holds(Letter.of(dead()), NOW_MS) is is_meant


def test_a_dead_letter_without_a_time_is_not_known_to_be_old() -> None:
    assert not Selection(older_than_ms=1).holds(Letter.of(dead(died_at_ms=0)), NOW_MS)


def test_a_list_has_one_row_for_each_and_the_error_at_its_end() -> None:
    head, row = listed([Letter.of(dead())], NOW_MS, PLAIN, None)
    assert " ".join(head.split()) == "id task queue reason attempts died key id last error"
    assert row.startswith("job-1  billing.charge  billing  poison         4  2030-03-17 16:46:40Z")
    assert row.endswith("(1h ago)  ops-1   ValueError: boom")


def test_on_a_narrow_terminal_the_error_stands_below() -> None:
    head, row, error = listed([Letter.of(dead())], NOW_MS, PLAIN, 100)
    assert head.endswith("key id")
    assert row.endswith("ops-1")
    assert error == "    ValueError: boom"


def test_on_a_wide_terminal_no_row_is_wider_than_it() -> None:
    long = TaskError(type="ValueError", message="boom " * 100)
    _, row = listed([Letter.of(dead(errors=(long,)))], NOW_MS, PLAIN, 160)
    assert len(row) == 160
    assert row.endswith("…")


def test_a_letter_without_an_error_or_a_signature_has_its_row_too() -> None:
    located = Located(
        place=Place.DEAD, message=Message(id="a", queue="q", task="t", body=b""), reason="rejected"
    )
    assert len(list(listed([Letter.of(located)], NOW_MS, PLAIN, 80))) == 2
    assert "signature     none" in list(letter_lines(located, NOW_MS, PLAIN))


def test_one_letter_is_shown_whole_but_for_its_signature() -> None:
    lines = list(letter_lines(dead(lapses=1, cancel_requested=True), NOW_MS, PLAIN))
    shown = dict(line.split("  ", 1) for line in lines[: lines.index("")])
    assert shown["reason"].strip() == "poison"
    assert shown["attempts"].strip() == "4"
    assert shown["lapses"].strip() == "1 in a row, of at most 5"
    assert shown["unique key"].strip() == "cust-1"
    assert shown["cancelled"].strip() == "requested"
    assert shown["signature"].strip() == "ed25519, key id ops-1, 20 bytes; not verified here"
    assert "    ValueError: boom" in lines
    assert "      T" in lines
    assert '    "amount": 1' in lines
    assert "s3cret" not in "".join(lines)


def test_programs_get_one_letter_whole_but_for_its_signature() -> None:
    facts = letter_facts(dead())
    assert facts["attempts"] == 4
    assert facts["died_at"] == "2030-03-17T16:46:40.000+00:00"
    assert (facts["key_id"], facts["algorithm"], facts["signature_bytes"]) == (
        "ops-1",
        "ed25519",
        20,
    )
    assert facts["errors"][0]["traceback"] == "T"
    assert facts["body"] == {"amount": 1}
    assert "s3cret" not in str(facts)


def test_a_list_does_not_pretend_that_an_error_has_no_traceback() -> None:
    facts = Letter.of(dead()).to_json()
    assert facts["error"]["type"] == "ValueError"
    assert "traceback" not in facts["error"]


def test_what_a_stranger_wrote_into_a_letter_is_printable() -> None:
    hostile = "\x1b[2J\n\u202e"
    message = Message(
        id=hostile,
        queue=hostile,
        task=hostile,
        body=b'"\\u202e"',
        key_id=hostile,
        algorithm=hostile,
        signature=b"x",
        content_type=hostile,
        expires_at_ms=2**62,
        limit_keys=(hostile,),
        unique=UniqueKey(key=hostile),
    )
    error = TaskError(type=hostile, message=hostile, traceback=hostile)
    located = Located(
        place=Place.DEAD, message=message, reason=hostile, died_at_ms=2**62, errors=(error,)
    )
    lines = [
        *letter_lines(located, NOW_MS, PLAIN),
        *listed([Letter.of(located)], NOW_MS, PLAIN, None),
    ]
    assert all(line.isprintable() for line in lines)

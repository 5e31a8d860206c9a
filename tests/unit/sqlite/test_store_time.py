"""The store's time follows the machine and not whoever sets its clock."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from stem_core.contracts.clock import SystemClock
from stem_core.embedded.sqlite import store_time
from stem_core.embedded.sqlite.schema import bring_up_to_date, steps
from stem_core.embedded.sqlite.statements import Statements
from stem_core.embedded.sqlite.store_time import Tickets, anchored, boot_of
from stem_core.embedded.sqlite.transaction import Writing
from stem_core.testing.clock import FakeClock

HOUR_MS = 3_600_000


class Machine(SystemClock):
    """A system clock whose two hands a test moves."""

    def __init__(self) -> None:
        self.wall, self.mono = 1_700_000_000_000, 5_000

    def wall_ms(self) -> int:
        return self.wall

    def monotonic_ms(self) -> int:
        return self.mono


@pytest.fixture
def machine(monkeypatch) -> Machine:
    machine = Machine()
    monkeypatch.setattr(store_time, "SYSTEM_CLOCK", machine)
    return machine


@pytest.fixture
def txn() -> Iterator[Writing]:
    sql = Statements("stem")
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        bring_up_to_date(connection, sql, "stem", steps(), ":memory:")
        yield Writing(connection, sql, 0, 0, Tickets().next)


def test_a_clock_that_is_set_moves_nothing(machine, txn):
    first = anchored(txn, machine, "boot-1")
    now_ms = first.now_ms()
    assert now_ms == machine.wall
    machine.wall += HOUR_MS
    assert first.now_ms() == now_ms
    assert anchored(txn, machine, "boot-1").now_ms() == now_ms
    machine.mono += 10
    assert first.now_ms() == now_ms + 10


def test_after_a_start_of_the_machine_time_is_tied_to_the_wall_again(machine, txn):
    anchored(txn, machine, "boot-1")
    machine.mono, machine.wall = 3, machine.wall + 5 * HOUR_MS
    assert anchored(txn, machine, "boot-2").now_ms() == machine.wall


def test_time_never_goes_back_behind_what_was_seen(machine, txn):
    seen_ms = anchored(txn, machine, "boot-1").now_ms()
    txn.do("admin.probe", seen_ms)
    machine.wall = 0  # a machine without a battery for its clock
    assert anchored(txn, machine, "boot-2").now_ms() == seen_ms


def test_without_a_name_for_the_start_of_the_machine_the_wall_clock_has_to_do(machine, txn):
    time = anchored(txn, machine, "")
    machine.wall += HOUR_MS
    assert time.now_ms() == machine.wall


def test_a_clock_of_tests_is_taken_as_it_is(txn):
    clock = FakeClock()
    assert anchored(txn, clock, "boot-1").now_ms() == clock.wall_ms()


def test_the_name_of_this_start_is_read_or_empty(tmp_path: Path):
    assert boot_of(tmp_path / "missing") == ""
    (tmp_path / "id").write_text("abc\n")
    assert boot_of(tmp_path / "id") == "abc"


@pytest.mark.parametrize("offset_ms", [None, 0, 5 * HOUR_MS], ids=["wall", "machine", "shifted"])
def test_tickets_grow_even_within_one_tick_of_the_clock(offset_ms, monkeypatch):
    monkeypatch.setattr(time, "time_ns", lambda: 7)
    monkeypatch.setattr(time, "monotonic_ns", lambda: 7)
    tickets = Tickets(offset_ms)
    first = tickets.next()
    assert [tickets.next() for _ in range(3)] == [first + 1, first + 2, first + 3]


def test_tickets_of_two_processes_follow_each_other():
    ours, theirs = Tickets(3), Tickets(3)
    taken = [each.next() for _ in range(200) for each in (ours, theirs)]
    assert taken == sorted(taken)

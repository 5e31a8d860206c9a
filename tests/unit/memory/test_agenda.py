"""An agenda gives out what is due, in order, and keeps nothing of what was dropped."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stem_core.embedded.memory.agenda import NEVER, Agenda

times = st.integers(0, 5_000)


@given(st.lists(times, max_size=50), times)
def test_what_is_due_comes_by_time_and_then_as_it_was_added(dues, now_ms):
    agenda = Agenda()
    for n, due_ms in enumerate(dues):
        agenda.add(f"k{n}", due_ms)
    keys = sorted((due_ms, n) for n, due_ms in enumerate(dues) if due_ms <= now_ms)
    assert agenda.due(now_ms) == [f"k{n}" for _, n in keys]
    assert len(agenda) == len(dues) - len(keys)
    assert agenda.due(now_ms) == []
    assert agenda.next_ms == min((d for d in dues if d > now_ms), default=NEVER)


@given(st.lists(st.tuples(times, st.booleans()), max_size=50), times)
def test_what_was_dropped_never_comes(plan, now_ms):
    agenda = Agenda()
    for n, (due_ms, _) in enumerate(plan):
        agenda.add(f"k{n}", due_ms)
    for n, (due_ms, is_dropped) in enumerate(plan):
        if is_dropped:
            agenda.drop(f"k{n}", due_ms)
    kept = sorted((d, n) for n, (d, is_dropped) in enumerate(plan) if not is_dropped)
    assert agenda.due(now_ms) == [f"k{n}" for d, n in kept if d <= now_ms]


@given(st.lists(times, min_size=1, max_size=50), st.integers(1, 10))
def test_a_coarse_agenda_is_late_by_less_than_a_page_and_never_early(dues, coarse):
    agenda = Agenda(coarse)
    for n, due_ms in enumerate(dues):
        agenda.add(f"{n}", due_ms)
    for now_ms in range(0, 5_000 + 2**coarse, 97):
        for key in agenda.due(now_ms):
            assert dues[int(key)] <= now_ms
        assert all(due_ms + 2**coarse > now_ms for due_ms in _left(agenda, dues))


def _left(agenda: Agenda, dues: list[int]) -> list[int]:
    return [dues[int(key)] for page in agenda._pages.values() for key in page]


def test_a_limit_stops_after_the_page_that_reaches_it():
    agenda = Agenda()
    for n in range(10):
        agenda.add(f"k{n}", n // 4)
    assert agenda.due(100, limit=5) == [f"k{n}" for n in range(8)]
    assert agenda.due(100, limit=5) == ["k8", "k9"]


def test_adding_and_dropping_for_ever_leaves_nothing_behind():
    agenda = Agenda()
    for n in range(10_000):
        agenda.add("k", n)
        agenda.drop("k", n)
    assert len(agenda) == 0
    assert len(agenda._numbers) < 100

"""When a process has done enough."""

from __future__ import annotations

import pytest

from stem_core.contracts.observer import Event
from stem_core.model.errors import ConfigError
from stem_core.worker.recycling import Recycler, check_room, tasks_until_replaced


class Scene:
    """A recycler, the memory that it sees, and what it has asked for."""

    def __init__(self, max_tasks: int | None = None, max_rss: int | None = None) -> None:
        self.rss = 0
        self.looks = 0
        self.asked: list[str] = []
        self.recycler = Recycler(max_tasks, max_rss, rss=self.look, enough=self.asked.append)

    def look(self) -> int:
        self.looks += 1
        return self.rss

    def ends(self, count: int = 1, name: str = "task-succeeded", at_ms: int = 0) -> None:
        for _ in range(count):
            self.recycler.on_event(Event(name=name, at_ms=at_ms))


@pytest.mark.parametrize(
    "name", ["task-succeeded", "task-failed", "task-retried", "task-released", "task-cancelled"]
)
def test_every_end_of_a_delivery_counts_and_it_is_asked_for_once(name):
    scene = Scene(max_tasks=3)
    scene.ends(2, name)
    assert scene.asked == []
    scene.ends(5, name)
    assert scene.asked == ["it has done 3 tasks"]


def test_what_is_no_end_does_not_count():
    scene = Scene(max_tasks=1)
    scene.ends(name="task-started")
    assert scene.asked == []


def test_memory_is_looked_at_once_in_a_second():
    scene = Scene(max_rss=100 << 20)
    for at_ms in range(10_000, 12_000, 10):
        scene.ends(at_ms=at_ms)
    assert scene.looks == 2
    scene.rss = 100 << 20
    scene.ends(at_ms=13_000)
    assert scene.asked == ["it holds 100M of memory"]


def test_processes_that_start_together_are_not_replaced_together():
    assert tasks_until_replaced(1000, 0.0) == 1000
    assert tasks_until_replaced(1000, 0.999) == 901
    assert tasks_until_replaced(5, 0.999) == 5


def test_a_limit_that_is_met_before_the_first_task_is_refused():
    check_room(None, 1 << 30)
    check_room(100 << 20, 99 << 20)
    with pytest.raises(ConfigError, match="is 100M, and this worker holds 120M"):
        check_room(100 << 20, 120 << 20)

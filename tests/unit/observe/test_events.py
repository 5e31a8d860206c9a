from __future__ import annotations

from stem_core.contracts.observer import Event
from stem_core.observe.events import Observers


class Remembering:
    def __init__(self) -> None:
        self.seen: list[str] = []

    def on_event(self, event: Event, /) -> None:
        self.seen.append(event.name)


class Raising:
    def on_event(self, event: Event, /) -> None:
        raise RuntimeError("not today")


def test_without_observers_there_is_nothing_to_build_events_for():
    assert not Observers()
    assert Observers([Remembering()])


def test_every_observer_is_told_in_order():
    one, two = Remembering(), Remembering()
    observers = Observers([one, two])
    observers.emit(Event(name="worker-started", at_ms=1))
    observers.emit(Event(name="worker-stopped", at_ms=2))
    assert one.seen == two.seen == ["worker-started", "worker-stopped"]


def test_an_observer_that_raises_is_logged_once_and_disturbs_nobody(caplog):
    after = Remembering()
    observers = Observers([Raising(), after])
    for _ in range(3):
        observers.emit(Event(name="task-started", at_ms=1))
    assert after.seen == ["task-started"] * 3
    assert caplog.text.count("RuntimeError: not today") == 1
    assert "Raising" in caplog.text

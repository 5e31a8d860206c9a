"""Ctrl-C in a terminal, once, twice and three times, with tasks in the loop and in children."""

from __future__ import annotations

import time

from chaos.arena import Arena
from chaos.brokers import in_turn
from chaos.danger import APP, MS, starts_of, verdict
from chaos.relay import wait_for_starts
from chaos.report import Row
from chaos.terminal import Terminal

from stem_core.testing.faults.history import What

HAND_BACK_MS, AT_ONCE_MS = 2_000, 1_000
APART_S = 0.3
"""Between two of them where nothing says that the first was heard."""

ENDS = {1: 0, 2: 75, 3: 70}
"""The exit code after so many: drained, handed back, ended at once."""


@in_turn("A8")
def test_each_ctrl_c_ends_a_worker_sooner_and_no_child_hears_it(arena_of, scale, prove, id, kind):
    rounds = scale.trials // len(ENDS) + 1 if scale.is_long else 1
    told: list[str] = []
    times: list[float] = []
    with arena_of(id, kind) as arena:
        for number in range(rounds):
            for presses in ENDS:
                trial = Interrupted(arena, presses, f"gate-{number}-{presses}")
                times.append(trial.play())
                told += trial.complaints(times[-1], scale.slack)
        found = arena.judge()
    prove(
        Row(
            id=id,
            fault="Ctrl-C in the terminal of a worker, once, twice and three times, with tasks in "
            "the loop and in a child",
            broker=arena.broker,
            trials=len(times),
            found=found,
            times_ms=tuple(times),
            timed="the last one to the end of the worker",
            bound="once: all end there, exit code 0; twice: started elsewhere "
            f"≤ {HAND_BACK_MS:,} ms, 75; three times: ends ≤ {AT_ONCE_MS:,} ms although its loop "
            "is blocked, 70; no child hears it",
            complaints=tuple(verdict(found, found.started_twice) + told),
        )
    )


class Interrupted:
    """One worker in a terminal, what it runs, and another worker that stands by."""

    def __init__(self, arena: Arena, presses: int, gate: str) -> None:
        self.arena = arena
        self.presses = presses
        self.gate = arena.folder / gate
        self.terminal = Terminal()
        settings = {"app": APP, "worker_children": "2", "worker_grace": "60s"}
        self.runner = arena.ready_worker(terminal=self.terminal.name, **settings)
        self.ids = self._enqueue()
        arena.wait_until(lambda: set(self.ids) <= self._started(), "start of all")
        self.successor = arena.ready_worker(**settings)
        self.code = 0

    def _enqueue(self) -> list[str]:
        until = {"until": self.gate.name}
        ids = self.arena.enqueue([until] * 2)
        ids += self.arena.enqueue([until], "chaos.short", isolation="process")
        if self.presses == 3:
            self.arena.wait_until(lambda: set(ids) <= self._started(), "start of all")
            ids += self.arena.enqueue([{"how": "blocks", **until}], "chaos.loop_peril")
        return ids

    def _started(self) -> set[str]:
        self.arena.tail.look()
        return self.arena.tail.ids[What.STARTED]

    def play(self) -> float:
        """Press so often; return how long after the last one the worker was at its end."""
        arena = self.arena
        arena.moment(0.2)
        pressed_ns = 0
        for number in range(1, self.presses + 1):
            what = What.KILLED if number == 3 else What.SIGNALLED
            if number > 1:
                self._wait_until_it_is_heard()
            pressed_ns = arena.pen.note(what, pid=self.runner.pid).at_ns
            self.terminal.press_ctrl_c()
        if self.presses == 1:
            arena.moment(0.3)
            self.gate.touch()
        if self.presses == 3:
            self._press_until_it_ends()
        self.code = self.runner.wait(30)
        took_ms = (time.monotonic_ns() - pressed_ns) / MS
        if self.presses == 2:
            wait_for_starts(arena, self.successor, 2)
            self._handed_ms = (time.monotonic_ns() - pressed_ns) / MS
        self.gate.touch()
        arena.wait_for_ends()
        assert arena.drain([self.successor]) == [0]
        self.terminal.close()
        return took_ms

    def _wait_until_it_is_heard(self) -> None:
        """Signals of one kind that come together are one; a blocked loop says nothing."""
        if self.presses == 3:
            time.sleep(APART_S)
            return
        pid = self.runner.pid
        self.arena.wait_for(
            lambda events: any(e.what is What.DRAINS and e.pid == pid for e in events), "draining"
        )

    def _press_until_it_ends(self) -> None:
        """Two of those before may have come together."""
        deadline_s = time.monotonic() + 30
        while time.monotonic() < deadline_s:
            again_s = time.monotonic() + APART_S
            while time.monotonic() < again_s:
                if self.runner.exit_code is not None:
                    return
                time.sleep(0.005)
            self.terminal.press_ctrl_c()

    def complaints(self, took_ms: float, slack: int) -> list[str]:
        """Say what was not as it should be."""
        told = []
        if self.code != ENDS[self.presses]:
            told.append(f"exit code {self.code} after {self.presses}")
        starts = [len(starts_of(self.arena.tail.look(), id)) for id in self.ids]
        if any(count != min(self.presses, 2) for count in starts):
            told.append(f"{starts} starts after {self.presses}")
        if self.presses == 2 and self._handed_ms > HAND_BACK_MS * slack:
            told.append(f"started elsewhere after {self._handed_ms:.0f} ms")
        if self.presses == 3 and took_ms > AT_ONCE_MS * slack:
            told.append(f"ended after {took_ms:.0f} ms")
        return told

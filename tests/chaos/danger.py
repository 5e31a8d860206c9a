"""What the rows about dangerous tasks share: neighbours, a watch over processes, a verdict."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from chaos.arena import Arena
from chaos.names import FAMILY
from chaos.scale import Scale

from stem_core.testing.faults.checker import Findings, complaints
from stem_core.testing.faults.history import Event, Tail, What

APP = "chaos.perils"
LAPSES = 3
"""How often a task may end its process before it is poison."""

MS = 1_000_000
_LOOK_EVERY_S = 0.005
_SHORT_MS = 50
_LONG_S = 120
"""More than a round takes: a limit of their own frees them from the one for all tasks."""


def rounds_of(scale: Scale, together: int) -> list[int]:
    """Return how many perils each round has: *together* in a short session, for one round."""
    if not scale.is_long:
        return [together]
    whole, rest = divmod(scale.trials, together)
    return [together] * whole + [rest] * bool(rest)


class Neighbours:
    """Innocent tasks beside dangerous ones: in the loop for all of a round, in threads, and in
    processes."""

    def __init__(self, arena: Arena) -> None:
        self._arena = arena
        self._gates = 0

    def round(self, perils: Sequence[str]) -> None:
        """Live beside *perils*, which were enqueued just now, until all of them have ended."""
        arena = self._arena
        self._gates += 1
        gate = arena.folder / f"gate-{self._gates}"
        arena.enqueue([{"until": gate.name}] * 3, hard_time_limit=_LONG_S)
        arena.enqueue([{"pause_ms": _SHORT_MS}] * 3, "chaos.short")
        arena.enqueue([{"pause_ms": _SHORT_MS}] * 3, "chaos.short", isolation="process")
        arena.wait_until(lambda: set(perils) <= arena.ledger.ended(), "end of the perils")
        gate.touch()
        arena.wait_for_ends()


def verdict(found: Findings, perils: Iterable[str], codes: Sequence[int] = ()) -> list[str]:
    """Return all complaints that every row has: of the checker, and that a neighbour has paid."""
    told = complaints(found)
    paid = set(found.started_twice) - set(perils)
    told += [f"{len(paid)} neighbours started twice"] if paid else []
    told += [f"exit codes {list(codes)}"] if any(codes) else []
    return told


def differing(found: Mapping[str, Any], wanted: Mapping[str, Any], what: str) -> list[str]:
    """Say where *found* is not as *wanted*, by id."""
    wrong = {id: found.get(id) for id, each in wanted.items() if found.get(id) != each}
    if not wrong:
        return []
    id, each = next(iter(wrong.items()))
    return [f"{what}: {len(wrong)} of {len(wanted)}, such as {each!r} and not {wanted[id]!r}"]


def starts_of(events: Iterable[Event], id: str) -> list[Event]:
    """Return the starts of *id*, in order."""
    return [event for event in events if event.id == id and event.what is What.STARTED]


def lives(pid: int) -> bool:
    """Say whether the process *pid* is there, and not merely waited for by nobody."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def children_of(pid: int) -> list[int]:
    """Return the children of the process *pid*, and theirs."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    mine = [int(word) for word in text.split()]
    return mine + [each for child in mine for each in children_of(child)]


class Deathwatch:
    """Sees the processes of tasks die, and writes down that their runs have ended.

    It looks each 5 ms: what it measures is never too good.

    Attributes:
        gone_ns: when each process was first seen to be gone.
    """

    def __init__(self, arena: Arena) -> None:
        self._arena = arena
        self._tail = Tail(arena.folder / "history")
        self._read = 0
        self._open: dict[int, list[Event]] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.gone_ns: dict[int, int] = {}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()
        for pid in self._family():  # a promise was broken: nobody else ends them
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def wait_for(self, pids: Iterable[int]) -> None:
        """Return once all of *pids* are gone."""
        wanted = set(pids)
        self._arena.wait_until(lambda: wanted <= set(self.gone_ns), f"end of {wanted}", 30)

    def _watch(self) -> None:
        while not self._over.wait(_LOOK_EVERY_S):
            self._look()

    def _look(self) -> None:
        events = self._tail.look()
        workers = {party.pid for party in self._arena.parties}
        for event in events[self._read :]:
            if event.what is What.STARTED and event.pid not in workers:
                self._open.setdefault(event.pid, []).append(event)
            elif event.what is What.ENDED and event.pid in self._open:
                self._open[event.pid] = [
                    each for each in self._open[event.pid] if each.id != event.id
                ]
        self._read = len(events)
        for pid in self._family():
            self._open.setdefault(pid, [])
        for pid in [pid for pid in self._open if not lives(pid)]:
            self.gone_ns.setdefault(pid, time.monotonic_ns())
            for run in self._open.pop(pid):
                self._arena.pen.note(
                    What.ENDED, id=run.id, fence=run.fence, attempt=run.attempt, pid=pid
                )

    def _family(self) -> list[int]:
        return [pid for pid in family_of(self._arena) if pid not in self.gone_ns]


def family_of(arena: Arena) -> list[int]:
    """Return the processes that tasks have started, as far as they have told."""
    path = arena.folder / FAMILY
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def settings_of(children: int, **more: str) -> dict[str, Any]:
    """Return what a worker of these rows is told."""
    shared = {"app": APP, "concurrency": 40, "worker_children": str(children)}
    return {**shared, "max_lapses": str(LAPSES), **more}

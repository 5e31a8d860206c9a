"""A relay: one worker runs tasks, another one stands by, and the first is hit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from attrs import frozen
from chaos.arena import Arena
from chaos.party import Party

from stem_core.testing.faults.history import What

TASKS = 4
_FREE_WITHIN_S = 0.5


@frozen(kw_only=True)
class Leg:
    """One part of a relay.

    Attributes:
        runner: runs `TASKS` tasks, which do not end before *gate* is there.
        successor: is ready and has nothing to do.
    """

    arena: Arena
    runner: Party
    successor: Party
    gate: Path

    def wait_for_the_takeover(self) -> None:
        """Return once the successor has started all tasks."""
        wait_for_starts(self.arena, self.successor, TASKS)

    def let_tasks_end(self) -> None:
        """Let every task end, whoever runs it."""
        self.gate.touch()


def legs(arena: Arena, count: int, **how: str) -> Iterator[Leg]:
    """Yield *count* legs; who was idle is the next to run, once everything has ended."""
    runner = arena.ready_worker(**how)
    for number in range(count):
        gate = arena.folder / f"gate-{number}"
        wanted = started(arena, runner) + TASKS
        arena.enqueue([{"until": gate.name}] * TASKS)
        wait_for_starts(arena, runner, wanted)
        leg = Leg(arena=arena, runner=runner, successor=arena.ready_worker(**how), gate=gate)
        arena.moment(0.5)
        yield leg
        leg.wait_for_the_takeover()
        leg.let_tasks_end()
        arena.wait_for_ends()
        runner = leg.successor
    arena.drain([runner])


def wait_for_starts(arena: Arena, party: Party, count: int) -> None:
    """Return once *party* has started *count* tasks."""
    arena.wait_until(lambda: started(arena, party) >= count, f"{count} tasks started")


def started(arena: Arena, party: Party) -> int:
    """Return how many tasks *party* has started."""
    events = arena.tail.look()
    return sum(event.pid == party.pid and event.what is What.STARTED for event in events)


def freeze(arena: Arena, party: Party) -> None:
    """Let *party* stand still, but not in the middle of a commit: it would hold up everybody."""
    party.freeze()
    while not arena.ledger.can_write(_FREE_WITHIN_S):
        party.thaw()
        arena.moment(0.1)
        party.freeze()

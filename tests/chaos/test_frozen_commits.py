"""A worker that stands still while it holds the lock of the file.

Nobody else can write then; that is the nature of the lock. What is promised is that nobody
has to be started again afterwards.
"""

from __future__ import annotations

import signal

from chaos.arena import RESUME_MS, Arena
from chaos.party import Party
from chaos.plan import ENDLESS, Plan
from chaos.report import Row
from chaos.witness import Fuse

from stem_core.testing.faults.checker import complaints, resumptions_ms, too_late
from stem_core.testing.faults.history import What


def test_a_worker_that_stands_still_within_a_commit_holds_up_the_others_no_longer_than_itself(
    arena_of, scale, prove
):
    with arena_of("A3 commit") as arena:
        other = arena.ready_worker()
        feeder = arena.producer(Plan(ENDLESS, pace=100))
        caught = 0
        while caught < scale.rounds:
            caught += is_caught_in_a_commit(arena, other)
        feeder.kill()
        arena.wait_for_ends()
        codes = arena.drain([other])
        found = arena.judge()
        times = tuple(resumptions_ms(arena.history(), [other.pid]))
    told = complaints(found, unconfirmed=1) + too_late(times, RESUME_MS * scale.slack, "resumption")
    told += [f"exit codes {codes}"] if any(codes) else []
    prove(
        Row(
            id="A3-commit",
            fault="SIGSTOP of a worker in the middle of a commit, then SIGCONT or SIGKILL",
            broker="sqlite",
            trials=scale.rounds,
            found=found,
            times_ms=times,
            timed="its end to the next fetch of another worker",
            bound=f"started twice ≤ IN_FLIGHT in flight; fetching again ≤ {RESUME_MS:,} ms",
            complaints=tuple(told),
        )
    )


def is_caught_in_a_commit(arena: Arena, other: Party) -> bool:
    """Let a worker freeze somewhere in a settlement; say whether it held the file's lock then."""
    fuse = Fuse("settle", arena.dice.randint(1, 5), arena.dice.randint(1, 900), signal.SIGSTOP)
    before = len(arena.tail.look())
    zombie = arena.worker(concurrency=4, fuse=fuse)
    arena.wait_for(lambda events: any(e.what is What.FROZEN for e in events[before:]), "freeze")
    is_caught = not arena.ledger.can_write(0.5)
    if is_caught:
        hold_up(arena, zombie, other)
    if zombie.exit_code is None:
        zombie.kill()
    return is_caught


def hold_up(arena: Arena, zombie: Party, other: Party) -> None:
    """Let the file be locked for a while, until *zombie* goes on or dies."""
    arena.pen.note(What.GONE)
    arena.moment(1.0)
    arena.pen.note(What.BACK)
    arena.dice.choice([zombie.thaw, zombie.kill])()
    arena.wait_for_takers({other.pid})

"""Workers that stand still for longer than their lease: what they say then counts for nothing."""

from __future__ import annotations

import signal

from chaos.arena import Arena
from chaos.brokers import on_every_broker
from chaos.party import Party
from chaos.relay import TASKS, freeze, legs
from chaos.report import Row
from chaos.witness import Fuse

from stem_core.testing.faults.checker import complaints
from stem_core.testing.faults.history import History, What
from stem_core.testing.faults.runs import Run, runs_of
from stem_core.testing.faults.truth import Truth


@on_every_broker("A3")
def test_a_worker_that_stood_still_settles_nothing_that_another_one_has_taken_over(
    arena_of, scale, prove, id, kind
):
    with arena_of(id, kind) as arena:
        for leg in legs(arena, scale.rounds):
            freeze(arena, leg.runner)
            leg.wait_for_the_takeover()
            leg.let_tasks_end()
            leg.runner.thaw()
            arena.wait_until(lambda who=leg.runner: all_is_told(arena, who), "all that is told")
            leg.runner.kill()
        found, history, truth = arena.judge(), arena.history(), arena.truth()
    told = complaints(found) + outlived(history, truth, scale.rounds * TASKS)
    prove(
        Row(
            id=id,
            fault="SIGSTOP of a worker until another one runs its tasks, then SIGCONT",
            broker=arena.broker,
            trials=scale.rounds,
            found=found,
            bound=f"started twice ≤ IN_FLIGHT in flight; {answers(history)}; "
            "every record is the new owner's",
            complaints=tuple(told),
        )
    )


def all_is_told(arena: Arena, zombie: Party) -> bool:
    runs = [run for each in runs_of(arena.history()).values() for run in each]
    return all(run.reply for run in runs if run.pid == zombie.pid)


def zombies(history: History) -> list[Run]:
    """Return the leases that a frozen worker held and somebody else has taken over."""
    frozen = {event.pid for event in history.only(What.FROZEN)}
    return [
        run
        for each in runs_of(history).values()
        for run in each
        if run.pid in frozen and any(after.fence > run.fence for after in each)
    ]


def answers(history: History) -> str:
    """Say how the zombies learnt that their leases are lost."""
    replies = [run.reply for run in zombies(history)]
    stale = sum(reply.startswith("stale") for reply in replies)
    return f"{stale} settlements refused, {len(replies) - stale} runs ended before"


def outlived(history: History, truth: Truth, expected: int) -> list[str]:
    """Say which zombie was believed, or whether there were none."""
    found = zombies(history)
    told = [f"{len(found)} zombies, {expected} expected"] if len(found) != expected else []
    refused = ("stale", "dropped", "gone")
    believed = [run.id for run in found if not run.reply.startswith(refused)]
    mine = [run.id for run in found if truth.records.get(run.id) == ("succeeded", run.fence)]
    told += [f"{len(believed)} zombies were not refused"] if believed else []
    return told + ([f"{len(mine)} records are a zombie's"] if mine else [])


def test_a_worker_that_stood_still_just_before_it_settled_is_refused_as_stale(
    arena_of, scale, prove
):
    with arena_of("A3 settle") as arena:
        refused = 0
        while refused < scale.rounds:
            refused += is_frozen_before_a_settlement(arena)
        found, history, truth = arena.judge(), arena.history(), arena.truth()
    replies = {run.reply for run in zombies(history)}
    told = complaints(found) + outlived(history, truth, scale.rounds)
    told += [f"zombies were told {replies}"] if replies != {"stale ack"} else []
    prove(
        Row(
            id="A3-settle",
            fault="SIGSTOP of a worker just before it settles, until another one has settled",
            broker="sqlite",
            trials=scale.rounds,
            found=found,
            bound=f"started twice ≤ IN_FLIGHT in flight; {answers(history)}",
            complaints=tuple(told),
        )
    )


def is_frozen_before_a_settlement(arena: Arena) -> bool:
    """Let a worker freeze before it settles, and thaw it when it is too late.

    False when it froze while another thread of it was in the middle of a commit: then
    nobody else could have done anything, and it is let go on at once.
    """
    arena.enqueue([{}])
    zombie = arena.worker(fuse=Fuse("settle", 1, 0, signal.SIGSTOP))
    arena.wait_for(lambda events: events[-1].what is What.FROZEN, "frozen worker")
    is_free = arena.ledger.can_write(0.5)
    parties = [zombie] if not is_free else [zombie, arena.ready_worker()]
    if is_free:
        arena.wait_for_ends()
    zombie.thaw()
    arena.wait_until(lambda: all_is_told(arena, zombie), "answer to the zombie")
    arena.drain(parties)
    return is_free

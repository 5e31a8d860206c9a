"""Producers that are killed: what their enqueue has confirmed is there."""

from __future__ import annotations

import signal

import pytest
from chaos.arena import Arena
from chaos.plan import ENDLESS, Plan
from chaos.report import Row
from chaos.witness import Fuse

from stem_core.testing.faults.checker import Findings, complaints

TOGETHER = 50


@pytest.mark.parametrize("durability", ["full", "normal"])
@pytest.mark.parametrize("together", [1, TOGETHER])
def test_an_id_whose_enqueue_has_returned_outlives_its_producer(
    arena_of, scale, prove, durability, together
):
    with arena_of(f"B1 {durability} {together}", durability=durability) as arena:
        for _ in range(scale.trials):
            kill_in_the_middle_of(arena, Plan(ENDLESS, together))
        found, stored = arena.judge(), arena.stored()
    how = "enqueues" if together == 1 else f"enqueue_many of {TOGETHER}"
    prove(
        Row(
            id=f"B1-{'single' if together == 1 else 'many'}-{durability}",
            fault=f"SIGKILL of a producer up to 100 ms into a loop of {how}",
            broker=f"sqlite, durability={durability}",
            trials=scale.trials,
            found=found,
            bound=f"unconfirmed calls in the store ≤ {scale.trials}, each whole: "
            f"{(stored - found.accepted) // together}",
            complaints=tuple(complaints(found) + too_many(stored, found, scale.trials, together)),
        )
    )


def kill_in_the_middle_of(arena: Arena, plan: Plan) -> None:
    """Kill a producer a random time after its first enqueue."""
    producer = arena.producer(plan)
    arena.wait_for(
        lambda events: any(event.pid == producer.pid for event in events), "a first enqueue"
    )
    arena.moment(0.1)
    producer.kill()


@pytest.mark.parametrize("durability", ["full", "normal"])
def test_a_kill_inside_a_publish_leaves_the_whole_call_or_nothing(
    arena_of, scale, prove, durability
):
    with arena_of(f"E3 publish {durability}", durability=durability) as arena:
        for _ in range(scale.trials):
            after_us = arena.dice.randint(1, 2_000)
            fuse = Fuse("publish", arena.dice.randint(1, 10), after_us, signal.SIGKILL)
            producer = arena.producer(Plan(ENDLESS, TOGETHER), fuse=fuse)
            assert producer.wait(60) == -signal.SIGKILL
        found, stored = arena.judge(), arena.stored()
    prove(
        Row(
            id=f"E3-publish-{durability}",
            fault=f"SIGKILL of a producer up to 2 ms into a publish of {TOGETHER}",
            broker=f"sqlite, durability={durability}",
            trials=scale.trials,
            found=found,
            bound=f"unconfirmed calls in the store ≤ {scale.trials}, each whole: "
            f"{(stored - found.accepted) // TOGETHER}",
            complaints=tuple(complaints(found) + too_many(stored, found, scale.trials, TOGETHER)),
        )
    )


def too_many(stored: int, found: Findings, kills: int, together: int) -> list[str]:
    """Say whether there is more in the store than one call for each kill, or half a call.

    Halves are looked for in the store: of a call that was confirmed, the kill may have torn
    the lines that say so.
    """
    extra = stored - found.accepted
    told = [f"{extra} messages that nobody was promised"] if extra > kills * together else []
    return told + ([f"{stored} is no whole number of calls"] if stored % together else [])

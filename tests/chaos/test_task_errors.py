"""What is raised where nobody expects it changes nothing but the end of its own task."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence

from attrs import fields
from chaos.brokers import EVERY, in_turn
from chaos.danger import (
    MS,
    Neighbours,
    differing,
    rounds_of,
    settings_of,
    verdict,
)
from chaos.names import FAILING, FOLLOWED, KINDS, RAISING, REJECTED
from chaos.report import Row

from stem_core.model.outcome import MAX_ERROR_TEXT
from stem_core.testing.faults.checker import too_late
from stem_core.testing.faults.history import Event, What
from stem_core.testing.faults.runs import runs_of
from stem_core.testing.faults.truth import SUCCEEDED

ERRORS = {
    "unpicklable": "Local",
    "huge": "ValueError",
    "recursive": "Endless",
    "rude": "Rude",
    "interrupts": "KeyboardInterrupt",
    "exits": "SystemExit",
}
"""What is raised, and by which name it is kept."""

PLACES = (
    ("chaos.loop_peril", "inline"),
    ("chaos.peril", "thread"),
    ("chaos.peril", "process"),
)
CUT = " [cut]"


@in_turn("H11", EVERY)
def test_whatever_a_task_raises_is_kept_within_bounds_and_its_worker_lives(
    arena_of, scale, prove, id, kind
):
    ways = itertools.cycle(itertools.product(ERRORS, PLACES))
    perils: dict[str, str] = {}
    with arena_of(id, kind) as arena:
        worker = arena.ready_worker(**settings_of(2))
        neighbours = Neighbours(arena)
        for size in rounds_of(scale, len(ERRORS) * len(PLACES)):
            ids = []
            for how, (task, isolation) in itertools.islice(ways, size):
                asked = {"max_retries": 0, "isolation": isolation}
                ids += arena.enqueue([{"how": how}], task, **asked)
                perils[ids[-1]] = ERRORS[how]
            neighbours.round(ids)
        letters = arena.letters()
        codes = arena.drain([worker])
        found = arena.judge()
    told = verdict(found, (), codes)
    errors = {id: letter.errors[-1] for id, letter in letters.items() if letter.errors}
    names = {id: error.type.rpartition(".")[2] for id, error in errors.items()}
    told += differing(names, perils, "kept as")
    sizes = [len(part) for e in errors.values() for part in (e.message, e.traceback)]
    told += [f"a text of {max(sizes)}"] if max(sizes) > MAX_ERROR_TEXT + len(CUT) else []
    told += ["nothing was cut: the trial proves nothing"] if max(sizes) < MAX_ERROR_TEXT else []
    prove(
        Row(
            id=id,
            fault="a task raises what cannot be pickled or shown, has 10 MB of text, or is no "
            "Exception: in the loop, in a thread, in a process",
            broker=arena.broker,
            trials=len(perils),
            found=found,
            bound=f"a dead letter with a text of at most {MAX_ERROR_TEXT // 1024} KiB: "
            f"{max(sizes):,} characters; the worker goes on; started twice 0",
            complaints=tuple(told + twice(found)),
        )
    )


def twice(found) -> list[str]:
    return [f"{len(found.started_twice)} started twice"] if found.started_twice else []


PER_CHILD = 5
START_MS = 20_000


@in_turn("H13", EVERY)
def test_no_child_that_a_worker_full_of_threads_starts_ever_hangs(
    arena_of, scale, prove, id, kind, tmp_path
):
    count = 50 * scale.rounds if scale.is_long else 15
    total, children, waits_ms, codes, broker = [], 0, [], [], ""
    for method in ("spawn", "forkserver"):
        folder = tmp_path / method
        folder.mkdir()
        with kind(folder, scale.dice(f"{id} {method}")) as arena:
            settings = {"worker_child_start": method, "worker_child_max_tasks": str(PER_CHILD)}
            worker = arena.ready_worker(**settings_of(3, **settings))
            arena.enqueue([{}] * count, "chaos.short", isolation="process")
            arena.enqueue([{"pause_ms": 20}] * count, "chaos.short")
            arena.wait_for_ends(300)
            codes += arena.drain([worker])
            total.append(arena.judge())
            broker = arena.broker
            starts = starts_in_children(arena.history().events)
        children += len({event.pid for event in starts})
        waits_ms += [(b.at_ns - a.at_ns) / MS for a, b in itertools.pairwise(starts)]
    found = together(total)
    told = verdict(found, (), codes) + twice(found)
    told += too_late(waits_ms, START_MS, "the next start")
    told += [f"{children} children only"] if children < 2 * count // PER_CHILD else []
    prove(
        Row(
            id=id,
            fault="a worker full of threads starts children while it works, by spawn and by "
            f"forkserver, one for each {PER_CHILD} tasks",
            broker=broker,
            trials=children,
            found=found,
            times_ms=tuple(waits_ms),
            timed="one start in a child to the next",
            bound=f"all tasks end; a next start ≤ {START_MS:,} ms; started twice 0",
            complaints=tuple(told),
        )
    )


def starts_in_children(events: Sequence[Event]) -> list[Event]:
    workers = {event.pid for event in events if event.what is What.LEASED}
    return [e for e in events if e.what is What.STARTED and e.pid not in workers]


def together(findings):
    """Return what came of several histories: counts are added, and lists put together."""
    first, *others = findings
    added = {
        field.name: sum((getattr(each, field.name) for each in others), getattr(first, field.name))
        if not isinstance(getattr(first, field.name), tuple)
        else tuple(itertools.chain(*(getattr(each, field.name) for each in findings)))
        for field in fields(type(first))
    }
    return type(first)(**added)


TASKS = 12


@in_turn("H14", EVERY)
def test_an_observer_that_fails_changes_nothing(arena_of, scale, prove, id, kind):
    wanted: Counter[str] = Counter()
    with arena_of(id, kind) as arena:
        arena.signs = {RAISING: "yes"}
        worker = arena.ready_worker(**settings_of(2))
        for _ in range(scale.rounds):
            kinds = arena.dice.choices(KINDS, k=TASKS)
            wanted.update(kinds)
            arena.enqueue([{"kind": each} for each in kinds])
            arena.wait_for_ends()
        letters = arena.letters()
        codes = arena.drain([worker])
        found, truth, runs = arena.judge(), arena.truth(), runs_of(arena.history())
    told = verdict(found, (), codes) + twice(found)
    attempts = sum(len(each) for each in runs.values())
    facts = {
        "dead": len(letters),
        "succeeded": sum(state == SUCCEEDED for state, _ in truth.records.values()),
        "runs": attempts,
    }
    followed, failing, rejected = wanted[FOLLOWED], wanted[FAILING], wanted[REJECTED]
    total = sum(wanted.values())
    told += differing(
        facts,
        {
            "dead": rejected,
            "succeeded": total - rejected + followed,
            "runs": total + followed + failing,
        },
        "outcome",
    )
    said = worker.log.read_text("utf-8", "replace")
    told += [] if "an observer fails at" in said else ["no observer failed: it proves nothing"]
    prove(
        Row(
            id=id,
            fault="an observer of a worker fails at every event",
            broker=arena.broker,
            trials=total,
            found=found,
            bound="ends, attempts and follow-ups as without them; started twice 0",
            complaints=tuple(told),
        )
    )

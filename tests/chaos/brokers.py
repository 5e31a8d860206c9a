"""The stores that a scenario is played on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import pytest
from chaos.arena import Arena
from chaos.memory_arena import MemoryArena
from chaos.postgres_arena import PostgresArena
from chaos.redis_arena import RedisArena

F = TypeVar("F", bound=Callable[..., Any])

KINDS = {"": Arena, "-redis": RedisArena, "-postgres": PostgresArena}
"""By what is added to the id of a row."""

PROCESSES = {"sqlite": Arena, "redis": RedisArena, "postgres": PostgresArena}
"""Stores that processes share, by their names."""

EVERY = {**PROCESSES, "memory": MemoryArena}
"""All of them: for what a worker survives, so that a store in its memory does too."""


def in_turn(row: str, kinds: Mapping[str, type[Arena]] = PROCESSES) -> Callable[[F], F]:
    """Play the scenario *row* on each of *kinds*; without a wish for trials, on one of them."""
    names = list(kinds)
    cases = [(f"{row}-{name}" if name != "sqlite" else row, kinds[name]) for name in names]
    ids = [id for id, _ in cases]

    def marked(test: F) -> F:
        test = pytest.mark.parametrize(("id", "kind"), cases, ids=ids)(test)
        return pytest.mark.in_turn(row)(test)

    return marked


def one_of_each(items: Sequence[pytest.Item], turn: int) -> list[pytest.Item]:
    """Return those of *items* that run when each scenario is played on one store, the next
    one for the next scenario; whose turn is first is said by *turn*."""
    rows: dict[str, list[pytest.Item]] = {}
    for item in items:
        if mark := item.get_closest_marker("in_turn"):
            rows.setdefault(mark.args[0], []).append(item)
    chosen = {id(cases[(turn + number) % len(cases)]) for number, cases in enumerate(rows.values())}
    return [item for item in items if not item.get_closest_marker("in_turn") or id(item) in chosen]


def on_every_broker(row: str) -> pytest.MarkDecorator:
    """Play a scenario, whose row is called *row* on SQLite, on each of them."""
    cases = [(f"{row}{suffix}", kind) for suffix, kind in KINDS.items()]
    return pytest.mark.parametrize(("id", "kind"), cases, ids=[id for id, _ in cases])

"""The stores that a scenario is played on."""

from __future__ import annotations

import pytest
from chaos.arena import Arena
from chaos.postgres_arena import PostgresArena
from chaos.redis_arena import RedisArena

KINDS = {"": Arena, "-redis": RedisArena, "-postgres": PostgresArena}
"""By what is added to the id of a row."""


def on_every_broker(row: str) -> pytest.MarkDecorator:
    """Play a scenario, whose row is called *row* on SQLite, on each of them."""
    cases = [(f"{row}{suffix}", kind) for suffix, kind in KINDS.items()]
    return pytest.mark.parametrize(("id", "kind"), cases, ids=[id for id, _ in cases])

"""What earlier releases left behind in a store, frozen: this release goes on with all of it.

`tests/mixed` froze it, and runs both releases beside each other where git has the earlier one.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from attrs import frozen
from mixed.dumps import POSTGRES_SCHEMA, restore
from mixed.freeze import NAMESPACE
from mixed.scene import ENDED, GOES_ON, SECOND
from mixed.sides import Side, furnish

GOLDEN = Path(__file__).parents[1] / "golden" / "stores"
RELEASES = sorted(path.name for path in GOLDEN.iterdir())
DROP = f"DROP SCHEMA IF EXISTS {POSTGRES_SCHEMA} CASCADE"


@frozen
class Left:
    """A store as a release left it, with what that one knew, and this release on it."""

    side: Side
    known: dict[str, Any]


@pytest.fixture(params=RELEASES)
def release(request: pytest.FixtureRequest) -> Path:
    """The folder of one earlier release."""
    return GOLDEN / request.param


@pytest.fixture(params=["sqlite", "redis", "postgres"])
def left(request: pytest.FixtureRequest, release: Path, tmp_path: Path) -> Iterator[Left]:
    """A store of each kind, filled with what is frozen."""
    furnish(tmp_path)
    url = f"sqlite:///{tmp_path}/tasks.db"
    if request.param != "sqlite":
        url = request.getfixturevalue(f"{request.param}_server").url
    shown = url
    _clear(request.param, url)
    if request.param == "postgres":
        _run(url, (release / "postgres.sql").read_text("utf-8"))
        shown += f"?schema={POSTGRES_SCHEMA}"
    [dump] = [path for path in release.glob(f"{request.param}.*") if path.name != "postgres.sql"]
    restore(request.param, url, dump.read_text("utf-8"))
    settings = {"STEM_BROKER_URL": shown, "STEM_NAMESPACE": NAMESPACE}
    side = Side(SECOND, sys.executable, tmp_path, settings, os.environ.get("PYTHONPATH", ""))
    if request.param == "postgres":
        side.stem("migrate", "up", shown)
    yield Left(side, json.loads((release / "known.json").read_text("utf-8"))[request.param])
    _clear(request.param, url)


def _clear(kind: str, url: str) -> None:
    if kind == "postgres":
        _run(url, DROP)
    elif kind == "redis":
        with redis.Redis.from_url(url) as client:
            client.delete(*client.scan_iter(f"{{{NAMESPACE}}}:*"), "nothing")


def _run(url: str, statements: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(statements.encode())


def test_this_release_goes_on_with_all_that_an_earlier_one_left(left: Left):
    side, ended = left.side, left.known["ended"]
    follow_up = ended["succeeded"]["value"]
    assert side.read(ENDED) == ended
    assert side.enqueue(("shop.work", {"n": 4}, {"unique": True})) == ["unique"]
    assert "paused" in side.stem("queues", "list")
    side.stem("queues", "resume", "aside")
    assert _dead(side) == ["dead"]
    side.stem("dlq", "replay", "dead")
    ids = [*GOES_ON, follow_up, "dead"]
    with side.worker("--queues", "default,aside,children"):
        seen = {id: each["value"] for id, each in side.reads_when_done(ids).items() if each}
    assert {value["by"] for value in seen.values()} == {SECOND}
    numbered = ("waiting", "urgent", "delayed", "unique", "held", follow_up)
    assert [seen[id]["n"] for id in numbered] == [1, 2, 3, 4, 5, 6]
    assert seen["stuck"]["fence"] > left.known["fence"]
    assert seen["failing"]["attempt"] > 3  # it goes on counting
    assert _dead(side) == []


def _dead(side: Side) -> list[str]:
    return [each["id"] for each in json.loads(side.stem("dlq", "list", "--json"))["dead_letters"]]

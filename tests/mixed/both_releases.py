"""Two releases on one store: whatever one of them has written, the other one goes on with.

`nox -s mixed` runs it. STEM_TEST_PREVIOUS is a Python that has the previous release installed;
the one that runs the tests has this release. STEM_TEST_PREVIOUS_WHEELS and STEM_TEST_WHEELS are
the folders with the wheels of both. The file is not collected without being named.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import sys
import zipfile
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from attrs import evolve, frozen
from mixed.sides import Side, furnish, until

PREVIOUS, THIS = "previous", "this"
PREVIOUS_WHEELS, WHEELS = "STEM_TEST_PREVIOUS_WHEELS", "STEM_TEST_WHEELS"
BOTH_WAYS = pytest.mark.parametrize(
    ("first", "second"), [(PREVIOUS, THIS), (THIS, PREVIOUS)], ids=["forth", "back"]
)
MANY = 200


@frozen
class Pair:
    """Both releases on one store, by name."""

    previous: Side
    this: Side

    def __getitem__(self, name: str) -> Side:
        return {PREVIOUS: self.previous, THIS: self.this}[name]


@pytest.fixture(params=["sqlite", "redis", "postgres"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Pair:
    """Both releases on a new store of each kind; its tables are made by the previous one."""
    python = os.environ.get("STEM_TEST_PREVIOUS")
    if not python:
        pytest.fail("STEM_TEST_PREVIOUS names no Python with the previous release: nox -s mixed")
    name = f"mixed_{secrets.token_hex(4)}"
    url = f"sqlite:///{tmp_path}/tasks.db"
    if request.param != "sqlite":
        url = request.getfixturevalue(f"{request.param}_server").url
    if request.param == "postgres":
        url += f"{'&' if '?' in url else '?'}schema={name}"
    settings = {"STEM_BROKER_URL": url, "STEM_NAMESPACE": name}
    furnish(tmp_path)
    path = os.environ.get("PYTHONPATH", "")
    previous = Side(PREVIOUS, python, tmp_path, settings)
    this = Side(THIS, sys.executable, tmp_path, settings, path)
    if request.param == "postgres":
        previous.stem("migrate", "up", url)
        this.stem("migrate", "up", url)
    return Pair(previous, this)


def work(n: int, pause_ms: int = 0, **options: Any) -> tuple[str, dict[str, Any], dict[str, Any]]:
    return "shop.work", {"n": n, "pause_ms": pause_ms}, options


@BOTH_WAYS
def test_what_one_release_enqueues_the_other_runs_and_both_read(pair: Pair, first, second):
    ids = pair[first].enqueue(
        *(work(n) for n in range(MANY)),
        work(MANY, priority=9, headers={"trace": "a-1"}, meta={"by": "ü"}, expires=3600),
        work(MANY + 1, delay_ms=300),
        work(MANY + 2, unique=True),
    )
    with pair[second].worker():
        seen = pair[first].reads_when_done(ids)
    assert seen == pair[second].read(ids)
    values = [each["value"] for each in seen.values() if each]
    assert [value["n"] for value in values] == list(range(MANY + 3))
    assert {value["by"] for value in values} == {second}


def test_workers_of_both_releases_share_what_both_enqueue_and_nothing_is_lost(pair: Pair):
    slow = [work(n, pause_ms=20, visibility_timeout=60) for n in range(MANY)]
    one_each = ("--concurrency", "4")
    with pair.previous.worker(*one_each), pair.this.worker(*one_each):
        ids = [*pair.previous.enqueue(*slow), *pair.this.enqueue(*slow)]
        seen = pair.previous.reads_when_done(ids)
    assert seen == pair.this.read(ids)
    done_by = Counter(each["value"]["by"] for each in seen.values() if each)
    assert done_by.total() == 2 * MANY
    assert min(done_by[PREVIOUS], done_by[THIS]) > 0
    assert {len(pair.this.starts(id)) for id in ids} == {1}


@BOTH_WAYS
def test_what_a_killed_worker_held_the_other_release_takes_over(pair: Pair, first, second):
    [held] = pair[first].enqueue(("shop.stuck", {"side": second}, {}))
    with pair[first].worker() as doomed:
        until(lambda: pair.this.starts(held), "start of the task")
        doomed.kill()
        doomed.wait()
    with pair[second].worker():
        seen = pair[first].reads_when_done([held])[held]
    [(_, lost), (_, kept)] = pair.this.starts(held)
    assert kept > lost
    assert seen is not None
    assert seen["value"] == {"by": second, "fence": kept}


def ended(side: Side, id: str) -> dict[str, Any]:
    """Return what *side* knows of *id* once it is over."""
    seen = side.read([id])[id] or {"state": "queued"}
    return {} if seen["state"] in ("queued", "scheduled", "parked", "running") else seen


@BOTH_WAYS
def test_what_failed_in_one_release_is_retried_in_the_other(pair: Pair, first, second):
    [id] = pair[first].enqueue(("shop.picky", {"side": second}, {}))
    with pair[first].worker():
        until(lambda: (pair[second].read([id])[id] or {}).get("attempt", 0) > 1, "second attempt")
    with pair[second].worker():
        seen = pair[first].reads_when_done([id])[id]
    assert seen is not None
    assert seen["value"]["by"] == second
    assert seen["value"]["attempt"] > 2


@BOTH_WAYS
def test_a_dead_letter_of_one_release_is_replayed_by_the_other(pair: Pair, first, second):
    [id] = pair[first].enqueue(("shop.reject", {"side": second}, {}))
    with pair[first].worker():
        seen = until(lambda: ended(pair[second], id), "dead letter")
    assert (seen["state"], seen["reason"]) == ("dead", "rejected")
    assert id in pair[second].stem("dlq", "list")
    pair[second].stem("dlq", "replay", id)
    with pair[second].worker():
        again = pair[first].reads_when_done([id])[id]
    assert again is not None
    assert again["value"]["by"] == second


@BOTH_WAYS
def test_a_follow_up_of_one_release_runs_in_the_other(pair: Pair, first, second):
    [id] = pair[first].enqueue(("shop.parent", {"n": 7}, {}))
    with pair[first].worker():
        [child] = [each["value"] for each in pair[second].reads_when_done([id]).values() if each]
    with pair[second].worker("--queues", "children"):
        seen = pair[first].reads_when_done([child])[child]
    assert seen is not None
    assert seen["value"] == {"n": 7, "by": second, "attempt": 1}


@BOTH_WAYS
def test_one_release_sees_and_cancels_what_runs_in_the_other(pair: Pair, first, second):
    [id] = pair[first].enqueue(("shop.stuck", {"side": ""}, {}))
    with pair[second].worker():
        until(
            lambda: (pair[first].read([id])[id] or {}).get("progress") == {"by": second},
            "progress of the task",
        )
        pair[first].stem("jobs", "cancel", id)
        seen = until(lambda: ended(pair[first], id), "end of the task")
    assert seen["state"] == "cancelled"


@BOTH_WAYS
def test_a_unique_task_of_one_release_is_the_same_task_to_the_other(pair: Pair, first, second):
    [id] = pair[first].enqueue(work(1, unique=True))
    assert pair[second].enqueue(work(1, unique=True)) == [id]
    with pair[second].worker():
        pair[first].reads_when_done([id])
    assert len(pair.this.starts(id)) == 1


@BOTH_WAYS
def test_a_queue_that_one_release_pauses_is_paused_for_the_other(pair: Pair, first, second):
    pair[first].stem("queues", "pause", "default")
    assert "paused" in pair[second].stem("queues", "list")
    [id] = pair[first].enqueue(work(1))
    pair[second].stem("queues", "resume", "default")
    with pair[second].worker():
        pair[first].reads_when_done([id])


@BOTH_WAYS
@pytest.mark.parametrize("algorithm", ["ed25519", "hmac-sha256"])
def test_what_one_release_signs_the_other_vouches_for(pair: Pair, first, second, algorithm):
    keys = pair.this.folder / "keys.toml"
    pair[first].stem("keys", "generate", str(keys), "--algorithm", algorithm)
    signed = {"STEM_SIGNER_URL": f"{algorithm}+file://{keys}", "STEM_SIGNING_RESULTS": "require"}
    sides = {each.name: evolve(each, settings=each.settings | signed) for each in
             (pair.previous, pair.this)}  # fmt: skip
    ids = sides[first].enqueue(work(1), ("shop.parent", {"n": 2}, {}))
    with sides[second].worker("--signing-policy", "require"):
        seen = sides[first].reads_when_done(ids)
    assert seen == sides[second].read(ids)


@BOTH_WAYS
def test_plugins_of_one_release_work_in_the_core_of_the_other(pair: Pair, first, second):
    crossed = plugins_in_front(pair[second], {PREVIOUS: PREVIOUS_WHEELS, THIS: WHEELS}[first])
    for package in ("stem_redis", "stem_postgres", "stem_signing"):
        where = crossed.says(f"import {package}; print({package}.__file__)")
        assert where.startswith(crossed.path.partition(os.pathsep)[0])
    core = "import stem_core; print(stem_core.__file__)"
    assert crossed.says(core) == pair[second].says(core)
    assert "error" not in crossed.stem("plugins", "--check")
    keys = pair.this.folder / "keys.toml"
    crossed.stem("keys", "generate", str(keys))
    signed = {"STEM_SIGNER_URL": f"ed25519+file://{keys}", "STEM_SIGNING_RESULTS": "require"}
    crossed = evolve(crossed, settings=crossed.settings | signed)
    ids = crossed.enqueue(work(1), work(2, delay_ms=200), ("shop.parent", {"n": 3}, {}))
    with crossed.worker("--signing-policy", "require"):
        crossed.reads_when_done(ids)


def plugins_in_front(side: Side, wheels: str) -> Side:
    """Return *side* with the plugins in *wheels* before its own."""
    assert os.environ.get(wheels), f"{wheels} names no folder with wheels: nox -s mixed"
    into = side.folder / "plugins"
    for wheel in Path(os.environ[wheels]).glob("*.whl"):
        if not wheel.name.startswith("stem_core-"):
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(into)
    return evolve(side, path=os.pathsep.join([str(into), *([side.path] if side.path else [])]))


NEWER = {
    "sqlite": lambda url, name: newer_file(url.removeprefix("sqlite:///"), name),
    "postgresql": lambda url, name: newer_schema(url.partition("?")[0], name),
}


@pytest.mark.parametrize("pair", ["sqlite", "postgres"], indirect=True)
def test_a_worker_that_runs_goes_on_when_a_newer_release_has_changed_the_tables(pair: Pair):
    url, name = (pair.this.settings[each] for each in ("STEM_BROKER_URL", "STEM_NAMESPACE"))
    [id] = pair.this.enqueue(work(1, delay_ms=3_000))
    with pair.previous.worker():
        # It has looked at the tables once it has started this one.
        [first] = pair.previous.enqueue(work(0))
        until(lambda: pair.this.starts(first), "start of a task")
        NEWER[url.partition(":")[0]](url, name)
        until(lambda: pair.this.starts(id), "start of the task that was delayed")
    for side in (pair.previous, pair.this):
        with pytest.raises(AssertionError, match="this release knows versions up to"):
            side.enqueue(work(2))


def newer_file(path: str, namespace: str) -> None:
    """Mark the tables in a file as those of a later release."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"UPDATE {namespace}_meta SET version = version + 1")


def newer_schema(url: str, schema: str) -> None:
    """Mark the tables in a schema as those of a later release."""
    with psycopg.connect(url) as connection:
        connection.execute(f'UPDATE "{schema}".version SET version = version + 1'.encode())

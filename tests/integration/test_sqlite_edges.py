"""Corners of the SQLite store: what is damaged, out of bounds, stopped, or asked for twice."""

from __future__ import annotations

import asyncio
import fcntl
import gc
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from stem_core.contracts.admin import ReplayStatus
from stem_core.contracts.control import ControlMessage
from stem_core.contracts.messages import (
    Cancellation,
    CancelStatus,
    DeadLetter,
    Message,
    PublishStatus,
    Receipt,
    RetryLater,
    Settlement,
    SettleStatus,
    UniqueKey,
)
from stem_core.embedded.sqlite import taking
from stem_core.embedded.sqlite.backend import SqliteResultBackend
from stem_core.embedded.sqlite.broker import SqliteBroker
from stem_core.embedded.sqlite.location import Location
from stem_core.embedded.sqlite.store import SqliteStore
from stem_core.model.errors import StoreError, StoreMisconfigured
from stem_core.model.outcome import Reason, Record, State
from stem_core.testing.clock import FakeClock


def message(id: str, **fields: Any) -> Message:
    return Message(**{"id": id, "queue": "q", "task": "t", "body": b"{}", **fields})


class Scene:
    """A broker and a backend of one file, on a clock that stands still."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = FakeClock()
        self.store = SqliteStore(Location(str(path)), clock=self.clock)
        self.broker = SqliteBroker(self.store)
        self.backend = SqliteResultBackend(self.store)

    async def take(self, **how: Any) -> Any:
        deliveries = await self.broker.fetch(
            how.pop("queues", ["q"]), **{"limit": 10, "wait_ms": 0, "worker": "w", **how}
        )
        return list(deliveries)

    def run(self, body: Callable[[], Any]) -> Any:
        async def main() -> Any:
            try:
                return await body()
            finally:
                await self.broker.aclose()
                await self.backend.aclose()

        return asyncio.run(asyncio.wait_for(main(), 60))

    def damage(self, sql: str) -> None:
        """Change the file as no program of ours would."""
        with closing(sqlite3.connect(self.path, timeout=10)) as other, other:
            other.execute(sql)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path / "tasks.db")


# ── damage ───────────────────────────────────────────────────────────────────


def test_a_record_that_cannot_be_read_hides_no_other(scene: Scene):
    async def body() -> None:
        await scene.backend.save([Record(id=id, state=State.SUCCEEDED) for id in ("a", "b", "c")])
        scene.damage("UPDATE stem_record SET record = 'x' WHERE id = 'b'")
        page = await scene.backend.list()
        assert [record.id for record in page.records] == ["c", "a"]
        with pytest.raises(StoreError, match="cannot be read"):
            await scene.backend.load(["b"])
        gc.disable()  # nothing may hang on to the old look at the file
        try:
            await scene.backend.save([Record(id="d", state=State.SUCCEEDED)])
            assert (await scene.backend.load(["d"]))[0] is not None
        finally:
            gc.enable()

    scene.run(body)


def test_a_damaged_row_does_not_stop_its_queue(scene: Scene):
    async def body() -> None:
        await scene.broker.publish([message("bad", key_id="k"), message("good")])
        await scene.broker.settle(
            [Settlement(receipt=each.receipt, outcome=RetryLater(0)) for each in await scene.take()]
        )
        scene.damage("UPDATE stem_message SET more = '{' WHERE id = 'bad'")
        assert [each.message.id for each in await scene.take()] == ["bad", "good"]

    scene.run(body)


# ── bounds ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "fields",
    [
        {"dedupe_for_ms": 2**70},
        {"max_lapses": 1.5},
        {"lease_ms": 0},
        {"priority": 10},
        {"delay_ms": 2**63},
        {"unique": UniqueKey(key="k", until="window", window_ms=2**63)},
        {"key_id": "\ud800"},
        {"limit_keys": ("\udfff",)},
    ],
)
def test_a_message_that_cannot_be_kept_is_refused_alone(scene: Scene, fields: dict[str, Any]):
    async def body() -> None:
        replies = await scene.broker.publish([message("a"), message("bad", **fields), message("b")])
        assert [reply.status.value for reply in replies] == ["created", "refused", "created"]
        (alone,) = await scene.broker.publish([message("bad", **fields)])
        assert (alone.status, bool(alone.reason)) == (PublishStatus.REFUSED, True)

    scene.run(body)


def test_a_settlement_out_of_bounds_is_invalid_alone(scene: Scene):
    async def body() -> None:
        await scene.broker.publish([message("a"), message("b")])
        a, b = await scene.take()
        replies = await scene.broker.settle(
            [
                Settlement(receipt=a.receipt, outcome=RetryLater(2**63)),
                Settlement(receipt=b.receipt),
            ]
        )
        assert [reply.status for reply in replies] == [SettleStatus.INVALID, SettleStatus.DONE]

    scene.run(body)


def test_ids_that_cannot_exist_are_unknown(scene: Scene):
    async def body() -> None:
        await scene.broker.publish([message("a")])
        assert (await scene.broker.lookup(["\ud800", "a"]))[0] is None
        wishes = [Cancellation(id="\ud800"), Cancellation(id="a", reason="why \ud800 \0")]
        replies = await scene.broker.cancel(wishes)
        assert [r.status for r in replies] == [CancelStatus.UNKNOWN, CancelStatus.CANCELLED]
        assert await scene.take(queues=["\ud800"], worker="\ud800") == []

    scene.run(body)


# ── asked for twice, or too late ─────────────────────────────────────────────


def test_a_queue_that_is_named_twice_gives_each_message_once(scene: Scene):
    async def body() -> None:
        await scene.broker.publish([message("a"), message("b")])
        taken = await scene.take(queues=["q", "other", "q"])
        assert [each.message.id for each in taken] == ["a", "b"]

    scene.run(body)


def test_one_id_twice_in_a_settlement_is_settled_once(scene: Scene):
    async def body() -> None:
        await scene.broker.publish([message("a")])
        (a,) = await scene.take()
        again = [Settlement(receipt=a.receipt), Settlement(receipt=a.receipt)]
        replies = await scene.broker.settle([*again, Settlement(receipt=Receipt("a", "q", 99))])
        assert [reply.status.value for reply in replies] == ["done", "already", "stale"]

    scene.run(body)


def test_a_dead_letter_whose_time_is_over_is_not_replayed(scene: Scene):
    async def body() -> None:
        assert scene.broker.admin is not None
        await scene.broker.publish([message("dead", unique=UniqueKey(key="k"))])
        (dead,) = await scene.take()
        await scene.broker.settle(
            [Settlement(receipt=dead.receipt, outcome=DeadLetter(Reason.REJECTED, keep_ms=100))]
        )
        await scene.broker.publish([message("next", unique=UniqueKey(key="k"))])
        scene.clock.advance(1)
        for verb in (scene.broker.admin.replay, scene.broker.admin.discard):
            assert (await verb(["dead"]))[0].status is ReplayStatus.UNKNOWN

    scene.run(body)


def test_a_lease_that_is_undone_gives_back_no_key_that_it_had_not_taken(scene: Scene):
    key = UniqueKey(key="k", until="started")

    async def body() -> None:
        await scene.broker.publish([message("a", unique=key)])
        (first,) = await scene.take()
        await scene.broker.settle([Settlement(receipt=first.receipt, outcome=RetryLater(0))])
        taken = await scene.store.write(taking.take, ("q",), 1, "w")
        await scene.store.write(taking.hand_back, taken)
        (reply,) = await scene.broker.publish([message("b", unique=key)])
        assert reply.status is PublishStatus.CREATED

    scene.run(body)


def test_many_that_are_due_at_one_moment_come_in_the_order_of_their_publishing(scene: Scene):
    async def body() -> None:
        at_ms = scene.clock.wall_ms() + 1_000
        ids = [f"m{number}" for number in range(5_000)]
        for start in range(0, len(ids), 500):
            batch = [message(id, not_before_ms=at_ms) for id in ids[start : start + 500]]
            await scene.broker.publish(batch)
        assert await scene.take() == []
        scene.clock.advance(1)
        seen: list[str] = []
        while taken := await scene.take(limit=500):
            seen += [each.message.id for each in taken]
        assert seen == ids

    scene.run(body)


# ── others at the file ───────────────────────────────────────────────────────


@contextmanager
def turn_taken(path: Path) -> Iterator[None]:
    """Hold the turn as a process does that is stopped in the middle of its own."""
    file = os.open(f"{path}-turn", os.O_RDWR)
    fcntl.flock(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(file)


def test_a_turn_that_is_never_given_back_delays_and_stops_nobody(scene: Scene):
    async def body() -> None:
        await scene.broker.publish([message("before")])
        with turn_taken(scene.path):
            for number in range(3):
                (reply,) = await scene.broker.publish([message(f"m{number}")])
                assert reply.status is PublishStatus.CREATED
        assert len(await scene.take()) == 4

    scene.run(body)


def test_the_first_look_does_not_wait_for_a_writer(scene: Scene):
    async def body() -> None:
        await scene.broker.publish([message("a")])
        with closing(sqlite3.connect(scene.path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            assert (await scene.broker.lookup(["a"]))[0] is not None
            other.execute("ROLLBACK")

    scene.run(body)


def test_namespaces_that_differ_in_case_alone_are_refused(tmp_path: Path):
    async def main() -> None:
        url = f"sqlite:///{tmp_path}/t.db"
        shop = await SqliteBroker.connect(url, namespace="shop")
        with pytest.raises(StoreMisconfigured, match="case"):
            await SqliteBroker.connect(url, namespace="Shop")
        await shop.aclose()

    asyncio.run(main())


def test_control_messages_of_a_burst_all_arrive(scene: Scene):
    async def body() -> None:
        channel = scene.broker.control
        assert channel is not None

        async def hear() -> list[int]:
            heard: list[int] = []
            async for each in channel.listen():
                heard.append(int(each.body))
                if len(heard) == 1_500:
                    break
            return heard

        listening = asyncio.ensure_future(hear())
        await asyncio.sleep(0)
        sending = [channel.send(ControlMessage(body=b"%d" % number)) for number in range(1_500)]
        await asyncio.gather(*sending)
        assert sorted(await listening) == list(range(1_500))

    scene.run(body)


def test_a_listener_that_is_torn_away_at_once_leaves_nothing_behind(scene: Scene):
    async def body() -> None:
        channel = scene.broker.control
        assert channel is not None
        for turns in range(6):
            listening: Any = asyncio.ensure_future(anext(aiter(channel.listen())))
            for _ in range(turns):
                await asyncio.sleep(0)
            listening.cancel()
            await asyncio.wait([listening])
        gc.collect()
        await asyncio.sleep(0)
        assert scene.store.waiters.is_empty

    scene.run(body)


FORGETS_TO_CLOSE = """
import asyncio, sys
from stem_core.embedded.sqlite.broker import SqliteBroker
from stem_core.embedded.sqlite.location import MEMORY, Location
from stem_core.embedded.sqlite.store import SqliteStore

where = [MEMORY, *(f"{n}.db" for n in range(24))]
brokers = [SqliteBroker(SqliteStore(Location(path))) for path in where]

async def main():
    waiting = [
        asyncio.ensure_future(broker.fetch(["q"], limit=1, wait_ms=60_000, worker="w"))
        for broker in brokers
    ]
    await asyncio.sleep(0.1)
    for wait in waiting:
        wait.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)

asyncio.run(main())
"""


def test_a_program_that_closes_nothing_ends_well_while_its_stores_are_in_use(tmp_path: Path):
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", FORGETS_TO_CLOSE],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (done.returncode, done.stderr) == (0, "")

"""What can happen to a Redis server: killed, emptied, full, locked, demoted, meddled with."""

from __future__ import annotations

import asyncio
import gc
import socket
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from services.certificates import Authority
from services.redis import RedisServer
from services.server import Server

from stem_core import Stem
from stem_core.plugin import (
    DeadLetter,
    Delivery,
    Fault,
    Message,
    PluginContext,
    Progress,
    PublishStatus,
    Reason,
    Record,
    Release,
    ReleaseWhy,
    Settlement,
    SettleStatus,
    State,
    StemURL,
    StoreError,
    StoreFull,
    StoreMisconfigured,
    StoreUnavailable,
    TlsConfig,
    UniqueKey,
)
from stem_redis import RedisResultBackend, RedisStreamsBroker
from stem_redis.options import RedisOptions


def message(id: str, **fields: Any) -> Message:
    return Message(**{"id": id, "queue": "q", "task": "t", "body": b"{}", **fields})


def run(work: Coroutine[Any, Any, None]) -> None:
    async def in_time() -> None:
        async with asyncio.timeout(60):
            await work

    asyncio.run(in_time())


async def take(broker: RedisStreamsBroker, limit: int = 10, wait_ms: int = 0) -> list[Delivery]:
    return list(await broker.fetch(["q"], limit=limit, wait_ms=wait_ms, worker="w"))


async def one_task(broker: RedisStreamsBroker, id: str) -> None:
    """Publish, take and end one task, and insist that each step did what it should."""
    assert [p.status for p in await broker.publish([message(id)])] == [PublishStatus.CREATED]
    (delivery,) = await take(broker)
    assert delivery.message.id == id
    assert [s.status for s in await broker.settle([Settlement(receipt=delivery.receipt)])] == [
        SettleStatus.DONE
    ]


async def patiently(call: Callable[[], Awaitable[Any]]) -> Any:
    """Call again while the store is away, as a worker does."""
    while True:
        try:
            return await call()
        except StoreUnavailable:
            await asyncio.sleep(0.05)


@pytest.fixture
def server() -> Any:
    with RedisServer() as server:
        yield server


# ── the server goes and comes ────────────────────────────────────────────────


def test_what_was_accepted_survives_the_death_of_a_server_with_a_log():
    async def work(server: RedisServer) -> None:
        broker = await RedisStreamsBroker.connect(server.url)
        await broker.publish([message(f"m{n}") for n in range(50)])
        taken = await take(broker, 20)
        server.kill()
        with pytest.raises(StoreUnavailable):
            await broker.settle([Settlement(receipt=taken[0].receipt)])
        server.start()
        settled = await patiently(
            lambda: broker.settle([Settlement(receipt=each.receipt) for each in taken])
        )
        assert {reply.status for reply in settled} == {SettleStatus.DONE}
        assert len(await take(broker, 100)) == 30
        await broker.aclose()

    with RedisServer(durable=True) as server:
        run(work(server))


def test_a_server_that_comes_back_empty_is_worked_with_again(server: RedisServer):
    async def work() -> None:
        broker = await RedisStreamsBroker.connect(server.url)
        await broker.publish([message("lost")])
        (delivery,) = await take(broker)
        server.restart(keep_data=False)
        replies = await patiently(lambda: broker.settle([Settlement(receipt=delivery.receipt)]))
        assert [reply.status for reply in replies] == [SettleStatus.GONE]
        await one_task(broker, "lost")  # its fence is above that of the lost one
        await broker.aclose()

    run(work())


def test_a_receipt_from_before_the_loss_of_all_data_can_do_nothing(server: RedisServer):
    async def work() -> None:
        broker = await RedisStreamsBroker.connect(server.url)
        await broker.publish([message("m")])
        (old,) = await take(broker)
        await broker.enter().command("FLUSHALL")
        await broker.publish([message("m")])
        (new,) = await take(broker)
        assert new.receipt.fence > old.receipt.fence
        (reply,) = await broker.settle([Settlement(receipt=old.receipt)])
        assert reply.status is SettleStatus.STALE
        await broker.aclose()

    run(work())


@pytest.mark.parametrize("calamity", ["FLUSHALL", "SCRIPT FLUSH", "CLIENT KILL TYPE normal"])
def test_who_waits_for_work_gets_it_after(calamity: str, server: RedisServer):
    async def work() -> None:
        broker = await RedisStreamsBroker.connect(server.url)
        other = broker.sibling()
        waiting = asyncio.ensure_future(patiently(lambda: take(broker, wait_ms=20_000)))
        while not broker._fetching._standing.is_asleep:
            await asyncio.sleep(0.01)
        await patiently(lambda: other.enter().command(*calamity.split()))
        await patiently(lambda: other.publish([message("m")]))
        async with asyncio.timeout(10):  # it asked for 20 s: what ends it is the news
            assert [d.message.id for d in await waiting] == ["m"]
        await broker.aclose()
        await other.aclose()

    run(work())


def test_who_waits_for_a_result_gets_it_after_its_connection_was_cut(server: RedisServer):
    async def work() -> None:
        backend = await RedisResultBackend.connect(server.url)
        other = backend.sibling()
        waiting = asyncio.ensure_future(backend.wait("m", timeout_ms=20_000))
        while not (backend._pushes._channels and backend._pushes._channels.told):
            await asyncio.sleep(0.01)
        await other.enter().command("CLIENT", "KILL", "TYPE", "pubsub")
        await other.save([Record(id="m", state=State.SUCCEEDED, fence=1)])
        record = await waiting
        assert record is not None
        assert record.state is State.SUCCEEDED
        await backend.aclose()
        await other.aclose()

    run(work())


def test_a_connection_that_was_closed_while_idle_is_not_used_again(server: RedisServer):
    async def work() -> None:
        broker = await RedisStreamsBroker.connect(server.url)
        other = broker.sibling()
        await broker.publish([message("a")])
        await other.enter().command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await asyncio.sleep(0.05)  # the news of it arrives
        await broker.publish([message("b")])
        assert len(await take(broker)) == 2
        await broker.aclose()
        await other.aclose()

    run(work())


def test_a_server_that_never_answers_is_given_up_in_time():
    async def work(port: int) -> None:
        with pytest.raises(StoreUnavailable, match="in time"):
            await RedisStreamsBroker.connect(
                f"redis://127.0.0.1:{port}/0?connect_timeout=300ms&timeout=300ms"
            )

    with socket.create_server(("127.0.0.1", 0)) as hole:  # the kernel takes the connection
        run(work(hole.getsockname()[1]))


# ── a full server ────────────────────────────────────────────────────────────


def test_a_full_server_takes_no_new_work_and_lets_workers_drain(server: RedisServer):
    async def work() -> None:
        broker = await RedisStreamsBroker.connect(server.url)
        backend = await RedisResultBackend.connect(server.url)
        ids = [f"m{n}" for n in range(300)]
        await broker.publish([message(id, body=b"x" * 2000) for id in ids])
        used = await used_memory(broker)
        await broker.enter().command("CONFIG", "SET", "maxmemory", used - 100_000)
        with pytest.raises(StoreFull, match="maxmemory") as refused:
            await broker.publish([message("one-more")])
        assert refused.value.fault is Fault.FULL
        while taken := await take(broker, 50):
            settled = await broker.settle([with_record(each) for each in taken])
            assert {reply.status for reply in settled} == {SettleStatus.DONE}
        assert all(await backend.load(ids))
        assert await broker.lookup(ids) == [None] * len(ids)
        await broker.aclose()
        await backend.aclose()

    run(work())


async def used_memory(broker: RedisStreamsBroker) -> int:
    info = (await broker.enter().command("INFO", "memory")).decode()
    return int(info.split("used_memory:")[1].split()[0])


def with_record(delivery: Delivery) -> Settlement:
    record = Record(
        id=delivery.message.id, state=State.SUCCEEDED, fence=delivery.receipt.fence, value=b"1"
    )
    return Settlement(receipt=delivery.receipt, record=record)


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
def test_a_server_that_would_throw_tasks_away_is_refused_unless_it_may(policy: str):
    async def work(server: RedisServer) -> None:
        with pytest.raises(StoreMisconfigured, match=policy):
            await RedisStreamsBroker.connect(server.url)
        with pytest.raises(StoreMisconfigured, match="allow_eviction"):
            await RedisResultBackend.connect(server.url)
        broker = await RedisStreamsBroker.connect(f"{server.url}?allow_eviction=true")
        await one_task(broker, "m")
        await broker.aclose()

    with RedisServer(config={"maxmemory-policy": policy}) as server:
        run(work(server))


# ── strangers among our keys ─────────────────────────────────────────────────

KEYS = [
    *("q:q", "d:q", "l:q", "x:q", "x", "graves", "queues", "turn", "z:q", "w:q", "pw:q", "pr:q"),
    *("paused", "rx", "walk", "swept"),
]


async def everything(broker: RedisStreamsBroker, round: str) -> None:
    """Let messages be in every place, and a record be kept."""
    await broker.publish([message(f"{round}-{n}") for n in range(5)])
    await broker.publish([message(f"{round}-late", delay_ms=60_000)])
    dead, parked, acked = await take(broker, 3)
    await broker.settle(
        [
            Settlement(receipt=dead.receipt, outcome=DeadLetter(Reason.REJECTED)),
            Settlement(receipt=parked.receipt, outcome=Release(60_000, ReleaseWhy.PARKED)),
            with_record(acked),
        ]
    )


async def again_and_again(broker: RedisStreamsBroker) -> None:
    """Do everything until even what is done seldom has been done."""
    for n in range(3):
        await everything(broker, f"meanwhile-{n}")


@pytest.mark.parametrize("key", KEYS)
def test_any_key_of_ours_may_be_deleted_and_the_work_goes_on(key: str, server: RedisServer):
    async def work() -> None:
        broker = await RedisStreamsBroker.connect(server.url)
        await everything(broker, "before")
        await broker.enter().command("DEL", f"{{stem}}:{key}")
        await everything(broker, "after")
        while await take(broker):
            pass
        await one_task(broker, "last")
        await broker.aclose()

    run(work())


@pytest.mark.parametrize("key", ["q:q", "d:q", "l:q"])
def test_what_stood_in_a_key_that_was_deleted_is_found_again(key: str, server: RedisServer):
    async def work() -> None:
        broker = await RedisStreamsBroker.connect(server.url)
        waits = 500 if key == "d:q" else 0
        ids = {f"m{n}" for n in range(500)}
        await broker.publish([message(id, delay_ms=waits, lease_ms=500) for id in sorted(ids)])
        if key == "l:q":
            assert len(await take(broker, 1000)) == 500
        await broker.enter().command("DEL", f"{{stem}}:{key}")
        found: set[str] = set()
        async with asyncio.timeout(20):
            while found != ids:
                taken = await take(broker, 1000, wait_ms=5000)
                found |= {each.message.id for each in taken}
                await broker.settle([Settlement(receipt=each.receipt) for each in taken])
        assert not await live(broker)
        await broker.aclose()

    run(work())


def test_where_one_message_had_lost_its_place_the_others_are_looked_for_at_once(
    server: RedisServer,
):
    async def work() -> None:
        broker = await RedisStreamsBroker.connect(server.url)
        for ten in range(10):
            await broker.publish([message(f"m{ten}-{n}") for n in range(500)])
        await broker.enter().command("DEL", "{stem}:q:q", "{stem}:swept")
        assert len(await take(broker, 1)) == 1
        assert await broker.enter().command("ZCARD", "{stem}:q:q") == 4_999
        await broker.aclose()

    run(work())


def test_dead_letters_and_unique_keys_are_found_again(server: RedisServer):
    async def work() -> None:
        broker = await RedisStreamsBroker.connect(server.url)
        unique = UniqueKey(key="k")
        await broker.publish([message("dead"), message("held", unique=unique)])
        (dead, held) = await take(broker)
        await broker.settle([Settlement(receipt=dead.receipt, outcome=DeadLetter(Reason.REJECTED))])
        keys = [f"{{stem}}:{key}" for key in ("x:q", "x", "graves", "u:k", "queues")]
        assert await broker.enter().command("DEL", *keys) == 5
        async with asyncio.timeout(20):
            while await broker.enter().command("EXISTS", *keys) < 5:
                await take(broker, wait_ms=100)
        letters = await broker.admin.dead_letters()
        assert [letter.message.id for letter in letters.items] == ["dead"]
        (refused,) = await broker.publish([message("second", unique=unique)])
        assert (refused.status, refused.id) == (PublishStatus.UNIQUE, "held")
        await broker.settle([Settlement(receipt=held.receipt)])
        await broker.aclose()

    run(work())


@pytest.mark.parametrize("key", ["q:q", "d:q", "l:q", "x:q", "x", "queues", "turn", "paused"])
def test_a_stranger_among_our_keys_is_named_and_no_message_is_lost(key: str, server: RedisServer):
    async def work() -> None:
        broker = await RedisStreamsBroker.connect(server.url)
        raw = broker.enter()
        await everything(broker, "m")
        before = await live(broker)
        name = f"{{stem}}:{key}"
        await raw.command("RENAME", name, "aside") if await raw.command("EXISTS", name) else None
        await raw.command("RPUSH", name, "stranger")
        with pytest.raises(StoreError, match="holds a list") as told:
            await again_and_again(broker)
        assert f"the key {name} " in str(told.value)
        assert told.value.fault is Fault.FATAL_CONFIG  # of the store, and of no message
        assert before <= await live(broker)
        await broker.aclose()

    run(work())


async def live(broker: RedisStreamsBroker) -> set[str]:
    """The ids of all messages that were not ended."""
    ids = [f"m-{n}" for n in (*range(5), "late")]
    return {found.message.id for found in await broker.lookup(ids) if found}


@pytest.mark.parametrize("limit", [2, 3, 4])  # those that are gone alone, or beside others
def test_a_message_that_somebody_deletes_is_mourned_and_hides_no_other(
    server: RedisServer, caplog: pytest.LogCaptureFixture, limit: int
):
    async def work() -> None:
        broker = await RedisStreamsBroker.connect(server.url)
        await broker.publish([message(f"m{n}") for n in range(4)])
        await broker.enter().command("DEL", "{stem}:m:m0")
        await broker.enter().command("SET", "{stem}:m:m1", "stranger")
        assert [d.message.id for d in await take(broker, limit)] == ["m2", "m3"]
        assert await broker.enter().command("EXISTS", "{stem}:q:q") == 0
        (reply,) = await broker.publish([message("m1")])
        assert reply.status is PublishStatus.REFUSED
        assert "{stem}:m:m1 holds a string" in reply.reason
        await broker.aclose()

    run(work())
    assert "2 messages stood in a queue and are gone" in caplog.text
    assert "m0" in caplog.text


# ── who may use it ───────────────────────────────────────────────────────────


def test_a_password_is_asked_for_and_never_shown():
    async def work(server: RedisServer) -> None:
        bare = server.url_of()
        with pytest.raises(StoreMisconfigured, match="asks for a password"):
            await RedisStreamsBroker.connect(bare)
        with pytest.raises(StoreMisconfigured, match="refuses this user and password") as refused:
            await RedisStreamsBroker.connect(server.url_of(password="wrong-hunter2"))
        assert "hunter2" not in f"{refused.value!r}{refused.value}{refused.value.__cause__}"
        broker = await RedisStreamsBroker.connect(server.url)
        await one_task(broker, "m")
        await broker.aclose()

    with RedisServer(config={"requirepass": "p@ss/w#rd%"}) as server:
        run(work(server))


MINIMAL = (
    "bob on >secret resetchannels ~{stem}:* &{stem}:* -@all "
    "+evalsha +eval +script|load +time +get +set +del +exists +type +strlen +getrange +setrange "
    "+pexpire +pttl +hget +hset +hmget +hdel +hgetall +zadd +zrem +zcard +zrange +zrangebyscore "
    "+zremrangebyscore +zremrangebyrank +zrevrangebyscore +zrevrangebylex +zscore +zscan "
    "+zrandmember +scan +sadd +srem +scard +smembers +sismember +smismember +srandmember +sunion "
    "+xadd +xread +xrevrange +publish +subscribe +unsubscribe "
    "+select +info +ping +hello +auth +client|setname +client|id +client|unblock"
)


def test_the_smallest_rights_that_the_docs_name_are_enough():
    page = Path(__file__).parents[2] / "docs" / "brokers" / "redis.md"
    rights = MINIMAL.removeprefix("bob on >secret ").split()
    documented = page.read_text("utf-8").replace("\\\n", " ").split()
    assert [right for right in rights if right not in documented] == []

    async def work(server: RedisServer) -> None:
        broker = await RedisStreamsBroker.connect(server.url_of("bob", "secret"))
        backend = await RedisResultBackend.connect(server.url_of("bob", "secret"))
        await everything(broker, "m")
        admin = broker.admin
        await admin.stats()
        await admin.peek("q")
        letters = await admin.dead_letters()
        await admin.replay([letters.items[0].message.id])
        await admin.pause("q")
        await admin.resume("q")
        assert (await admin.health()).ok
        await admin.purge("q")
        await broker.limits.acquire([], holder="h", lease_ms=1)
        await backend.progress([Progress("p", 1, b"1")])
        await backend.list()
        waiting = asyncio.ensure_future(backend.wait("w", timeout_ms=10_000))
        await asyncio.sleep(0.1)
        await backend.save([Record(id="w", state=State.SUCCEEDED)])
        assert (await waiting) is not None
        await backend.expire(["w"], ttl_ms=0)
        locks = backend.locks
        assert await locks.acquire("l", owner="o", ttl_ms=1000)
        assert await locks.release("l", owner="o")
        assert await backend.heartbeats.alive() == []
        assert await backend.schedules.load_schedules() == []
        assert await take(broker, wait_ms=100) == []
        sleeping = asyncio.ensure_future(take(broker, wait_ms=10_000))
        await asyncio.sleep(0.1)
        await broker.publish([message("told")])
        assert [each.message.id for each in await sleeping] == ["told"]
        assert broker._fetching._standing.is_free  # its look stood at the server
        await broker.aclose()
        await backend.aclose()

    with RedisServer(config={"user": ["default off", MINIMAL]}) as server:
        run(work(server))


def test_rights_that_are_missing_are_a_matter_for_people():
    async def work(server: RedisServer) -> None:
        broker = await RedisStreamsBroker.connect(server.url_of("bob", "secret"))
        with pytest.raises(StoreMisconfigured, match="ACL"):
            await broker.publish([message("m")])
        await broker.aclose()

    with RedisServer(
        config={"user": ["default off", "bob on >secret ~other:* &* +@all"]}
    ) as server:
        run(work(server))


def test_a_replica_is_not_healthy_and_is_refused_at_start(server: RedisServer):
    async def work() -> None:
        broker = await RedisStreamsBroker.connect(server.url)
        await broker.publish([message("m")])
        await broker.enter().command("REPLICAOF", "127.0.0.1", "1")
        with pytest.raises(StoreUnavailable, match="replica") as refused:
            await broker.publish([message("n")])
        assert refused.value.fault is Fault.RECONNECT
        health = await broker.admin.health()
        assert not health.ok
        assert "replica" in health.detail
        with pytest.raises(StoreMisconfigured, match="replica"):
            await RedisStreamsBroker.connect(server.url)
        await broker.enter().command("REPLICAOF", "NO", "ONE")
        assert len(await take(broker)) == 1
        await broker.aclose()

    run(work())


# ── other ways to reach it ───────────────────────────────────────────────────


def test_a_unix_socket_is_as_good_as_a_port(server: RedisServer):
    async def work() -> None:
        broker = await RedisStreamsBroker.connect(f"redis+unix://{server.socket}?db=3")
        await one_task(broker, "m")
        assert broker.homes == ("3", "3")
        await broker.aclose()

    run(work())


def test_tls_is_checked_and_its_refusals_name_the_way_out(tmp_path: Path):
    folders = [tmp_path / name for name in ("ours", "theirs")]
    for folder in folders:
        folder.mkdir()
    authority, stranger = map(Authority, folders)

    async def work(server: RedisServer) -> None:
        trusted = TlsConfig(ca_certificate_file=str(authority.certificate))
        broker = await RedisStreamsBroker.connect(server.url, tls=trusted)
        await one_task(broker, "m")
        await broker.aclose()
        for tls in (TlsConfig(), TlsConfig(ca_certificate_file=str(stranger.certificate))):
            with pytest.raises(StoreMisconfigured, match="STEM_TLS_CA_CERT"):
                await RedisStreamsBroker.connect(server.url, tls=tls)
        broker = await RedisStreamsBroker.connect(server.url, tls=TlsConfig(allow_insecure=True))
        await one_task(broker, "n")
        await broker.aclose()

    with RedisServer(tls=authority.identity()) as server:
        run(work(server))
    gc.collect()  # a socket that is still open would be told now, by a warning


def test_results_in_another_database_commit_in_the_same_step(server: RedisServer):
    async def work() -> None:
        broker = await RedisStreamsBroker.connect(f"{server.url}?results_db=1")
        backend = await RedisResultBackend.connect(server.url.replace("/0", "/1"))
        assert broker.store_id == backend.store_id
        apart = await RedisStreamsBroker.connect(server.url)
        assert apart.store_id != backend.store_id
        await broker.publish([message("m")])
        (delivery,) = await take(broker)
        await broker.settle([with_record(delivery)])
        assert await broker.enter().command("DBSIZE")
        (record,) = await backend.load(["m"])
        assert record is not None
        for handle in (broker, apart, backend):
            await handle.aclose()

    run(work())


def test_the_url_of_the_backend_alone_tells_a_broker_where_records_go(server: RedisServer):
    async def work() -> None:
        home, results = StemURL.parse(server.url), StemURL.parse(server.url).with_path("/1")
        context = PluginContext(results=results)
        broker = await RedisStreamsBroker.open(home, RedisOptions(), context)
        backend = await RedisResultBackend.open(results, RedisOptions(), context)
        assert broker.store_id == backend.store_id
        await broker.aclose()
        await backend.aclose()
        async with Stem(broker=home, backend=results) as stem:
            assert (await stem._runtime.lane()).atomic

    run(work())


def test_a_logical_database_that_is_not_there_is_refused_at_start(server: RedisServer):
    async def work() -> None:
        with pytest.raises(StoreError, match="results_db=99999"):
            await RedisStreamsBroker.connect(f"{server.url}?results_db=99999")

    run(work())


def test_every_verb_on_the_hot_path_is_one_round_trip(redis_server: Server):
    async def work() -> None:
        broker = await RedisStreamsBroker.connect(
            StemURL.parse(redis_server.url), namespace="round-trips"
        )
        await take(broker)  # the server learns each script at its first use
        await one_task(broker, "warm")
        await broker.publish([message("known-1"), message("known-2")])
        await broker.settle([Settlement(receipt=each.receipt) for each in await take(broker)])
        server, batch = broker.enter(), [message(f"m{n}") for n in range(100)]
        assert await trips(broker, broker.publish(batch)) == 1
        before = server.calls
        taken = await take(broker, 100)
        assert server.calls - before <= 2  # it may be time to sweep
        settled = broker.settle([with_record(each) for each in taken])
        assert await trips(broker, settled) == 1
        await broker.aclose()

    run(work())


async def trips(broker: RedisStreamsBroker, call: Coroutine[Any, Any, Any]) -> int:
    before = broker.enter().calls
    await call
    return broker.enter().calls - before

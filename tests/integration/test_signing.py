"""Signed work from end to end: what is forged never runs, and what is good always does."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from unit.producer.stores import fresh_name
from unit.signing.rings import OTHER, Given, a_signer, an_entry

from stem_core.contracts.admin import ReplayStatus
from stem_core.contracts.messages import Message, Place, UniqueKey
from stem_core.contracts.observer import Event
from stem_core.contracts.signer import Signer
from stem_core.embedded.memory.store import MemoryStore
from stem_core.model.errors import ConfigError
from stem_core.model.outcome import State
from stem_core.model.retry import RetryPolicy
from stem_core.model.seal import RESULT, TASK
from stem_core.model.value import replace
from stem_core.producer.client import Stem
from stem_core.producer.context import TaskContext
from stem_core.producer.registry import TaskRegistry
from stem_core.producer.vetting import SigningPolicy
from stem_core.testing.clock import FakeClock
from stem_core.worker.burst import burst
from stem_core.worker.worker import Worker
from stem_signing.keyring import State as KeyState
from stem_signing.keys import Kind
from stem_signing.signer import KeyringSigner

registry = TaskRegistry()
ran: Counter[str] = Counter()


@registry.task(name="shop.pay")
async def pay(name: str) -> str:
    ran[name] += 1
    return f"{name} paid"


@registry.task(name="shop.fail", max_retries=1, retry_policy=RetryPolicy(base=0, cap=0))
async def fail(name: str) -> None:
    ran[name] += 1
    raise ValueError("no funds")


@registry.task(name="shop.follow", context=True, max_retries=0)
async def follow(ctx: TaskContext, name: str) -> None:
    ctx.enqueue(pay.call(name))


@pytest.fixture(autouse=True)
def store() -> Iterator[str]:
    ran.clear()
    name = fresh_name()
    yield name
    MemoryStore.forget(name, "stem")


def keys(kind: Kind, **more: Any) -> KeyringSigner:
    return a_signer(an_entry("one", kind, **more))


def at(store: str, signer: Signer | None, **more: Any) -> Stem:
    return Stem(f"memory://{store}", registry=registry, signer=signer, **more)


async def published(stem: Stem, *messages: Message) -> None:
    lane = await stem.lane()
    await lane.broker.publish(messages)


async def dead_letters(stem: Stem) -> list[Any]:
    admin = (await stem.lane()).broker.admin
    assert admin is not None
    found: list[Any] = []
    cursor = None
    while True:
        page = await admin.dead_letters(None, limit=500, cursor=cursor)
        found += page.items
        cursor = page.cursor
        if cursor is None:
            return found


def message_of(stem: Stem, name: str, task: str = "shop.pay", **how: Any) -> Message:
    return stem.pipeline.prepare(stem.call(task, {"name": name}, **how))


# ── every bit ────────────────────────────────────────────────────────────────


def flipped(data: bytes) -> Iterator[bytes]:
    for place in range(len(data) * 8):
        changed = bytearray(data)
        changed[place // 8] ^= 1 << place % 8
        yield bytes(changed)


def flipped_text(text: str) -> Iterator[str]:
    for data in flipped(text.encode()):
        yield data.decode("utf-8", "surrogateescape")


CHANGES: list[Callable[[Message, Message], Iterator[Message]]] = [
    lambda it, _: (replace(it, body=each) for each in flipped(it.body)),
    lambda it, _: (replace(it, body=it.body[:size]) for size in range(len(it.body))),
    lambda it, _: (replace(it, body=it.body + each) for each in (b" ", b"\0", b"{}", it.body)),
    lambda it, _: (replace(it, signature=each) for each in flipped(it.signature)),
    lambda it, _: (replace(it, signature=it.signature[:size]) for size in range(len(it.signature))),
    lambda it, _: (replace(it, key_id=each) for each in flipped_text(it.key_id)),
    lambda it, _: (replace(it, key_id=it.key_id[:size]) for size in range(len(it.key_id))),
    lambda it, _: (replace(it, algorithm=each) for each in flipped_text(it.algorithm)),
    lambda it, _: (replace(it, algorithm=each) for each in ("", "none", "hmac-sha256", "ed25519")),
    lambda it, other: iter([replace(it, signature=other.signature)]),
    lambda it, other: iter([replace(it, body=other.body)]),
    lambda it, other: iter([replace(it, body=other.body, signature=other.signature)]),
    lambda it, other: iter([replace(it, id=other.id)]),
]


def mutants(stem: Stem, change: Callable[[Message, Message], Iterator[Message]]) -> list[Message]:
    """Every mutant of a message, each of a message of its own: no two have one id."""
    first, other = message_of(stem, "evil"), message_of(stem, "evil")
    found = []
    for number in range(len(list(change(first, other)))):
        it = message_of(stem, "evil")
        mutant = list(change(it, message_of(stem, "evil")))[number]
        if mutant != it:
            found.append(mutant)
    return found


@pytest.mark.parametrize("kind", ["secret", "private"])
def test_no_mutant_of_a_signed_message_runs(store: str, kind: Kind) -> None:
    """Each bit of body, signature, key id and algorithm, each length, each exchange."""

    async def main() -> tuple[int, list[Any]]:
        stem = at(store, keys(kind))
        bad = [each for change in CHANGES for each in mutants(stem, change)]
        for start in range(0, len(bad), 500):
            await published(stem, *bad[start : start + 500])
        await stem.enqueue("shop.pay", {"name": "good"})
        await burst(stem)
        return len(bad), await dead_letters(stem)

    count, dead = asyncio.run(main())
    assert count > 1900
    assert dict(ran) == {"good": 1}
    assert len(dead) == count
    assert {each.reason for each in dead} == {"signature-invalid", "signature-missing"}


@pytest.mark.parametrize(
    "moved",
    [
        {"queue": "urgent"},
        {"priority": 9},
        {"task": "shop.fail"},
        {"id": "another"},
        {"not_before_ms": 1},
        {"expires_at_ms": 2**40},
    ],
    ids=str,
)
def test_a_signed_message_that_was_moved_does_not_run(store: str, moved: dict[str, Any]) -> None:
    async def main() -> list[Any]:
        stem = at(store, keys("private"))
        await published(stem, replace(message_of(stem, "evil"), **moved))
        await burst(stem)
        return await dead_letters(stem)

    [dead] = asyncio.run(main())
    assert dead.reason == "signature-invalid"
    assert not ran


def test_what_was_signed_for_another_purpose_does_not_run(store: str) -> None:
    async def main() -> list[Any]:
        signer = keys("private")
        stem = at(store, signer)
        message = message_of(stem, "evil")
        seal = signer.sign(RESULT, message.body)
        await published(stem, replace(message, signature=seal.signature))
        await burst(stem)
        return await dead_letters(stem)

    assert len(asyncio.run(main())) == 1
    assert not ran


# ── a forgery harms nobody ───────────────────────────────────────────────────


def test_a_forgery_that_claims_an_id_changes_nothing_of_it(store: str) -> None:
    async def main() -> tuple[Any, ...]:
        stem = at(store, keys("private"))
        job_id = await stem.enqueue("shop.pay", {"name": "good"})
        await burst(stem)
        forged = replace(message_of(stem, "evil"), id=job_id, signature=b"x", dedupe_for_ms=0)
        await published(stem, forged)
        await burst(stem)
        return await stem.result(job_id, timeout=1), (await stem.status(job_id))

    value, status = asyncio.run(main())
    assert value == "good paid"
    assert status.state is State.SUCCEEDED
    assert dict(ran) == {"good": 1}


def test_a_forgery_is_kept_byte_for_byte_with_its_reason_and_the_key_that_it_claims(
    store: str,
) -> None:
    events: list[Event] = []

    class Watching:
        def on_event(self, event: Event, /) -> None:
            events.append(event)

    async def main() -> tuple[Any, Any, Any]:
        stem = at(store, keys("private"))
        forged = replace(message_of(stem, "evil"), body=b"\xff\0 no json", key_id="stranger")
        await published(stem, forged)
        await burst(stem, observers=[Watching()])
        [dead] = await dead_letters(stem)
        lane = await stem.lane()
        assert lane.backend is not None
        [record] = await lane.backend.load([forged.id])
        return dead, record, await stem.status(forged.id)

    dead, record, status = asyncio.run(main())
    assert dead.message.body == b"\xff\0 no json"
    assert dead.message.key_id == "stranger"
    assert dead.reason == "signature-invalid"
    assert record is None
    assert status.state is State.DEAD
    [told] = [event for event in events if event.task_id]
    assert told.name == "message-refused"
    assert told.detail["reason"] == "signature-invalid"
    assert told.detail["key_id"] == "stranger"


def test_a_forgery_with_the_unique_key_of_another_task_does_not_free_it(store: str) -> None:
    async def main() -> tuple[Any, Any]:
        stem = at(store, keys("private"))
        claim = UniqueKey(key="shop.pay:one")
        good = replace(message_of(stem, "good", delay="1h"), unique=claim)
        await published(stem, good)
        lane = await stem.lane()
        forged = replace(message_of(stem, "evil"), unique=claim, signature=b"x")
        [first] = await lane.broker.publish([forged])
        await published(stem, replace(forged, unique=None))
        await burst(stem)
        [second] = await lane.broker.publish([replace(message_of(stem, "again"), unique=claim)])
        return first, second

    first, second = asyncio.run(main())
    assert first.status.value == second.status.value == "unique"


def test_a_flood_of_forgeries_is_a_line_of_the_log_and_good_work_runs(
    store: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        stem = at(store, keys("secret"), clock=FakeClock())
        forged = [replace(message_of(stem, "evil"), signature=b"x") for _ in range(1000)]
        for start in (0, 500):
            await published(stem, *forged[start : start + 500])
        await stem.enqueue("shop.pay", {"name": "good"})
        await burst(stem)

    asyncio.run(main())
    lines = [line for line in caplog.messages if "refused for its signature" in line]
    assert len(lines) == 1
    assert "wrong-signature" in lines[0]
    assert dict(ran) == {"good": 1}


# ── policies ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("policy", "runs", "says"),
    [
        ("off", {"unsigned": 1, "signed": 1, "forged": 1}, "policy is off"),
        ("accept", {"unsigned": 1, "signed": 1}, "policy is accept"),
        ("require", {"signed": 1}, ""),
        (None, {"signed": 1}, ""),
    ],
)
def test_each_worker_has_its_policy_and_says_so_when_it_is_weak(
    store: str,
    policy: SigningPolicy | None,
    runs: dict[str, int],
    says: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        stem = at(store, keys("private"))
        await at(store, None).enqueue("shop.pay", {"name": "unsigned"})
        await stem.enqueue("shop.pay", {"name": "signed"})
        await published(stem, replace(message_of(stem, "forged"), signature=b"x"))
        async with Worker(stem, signing_policy=policy):
            while (await stem.lane()).broker.admin and await waiting(stem):
                await asyncio.sleep(0.005)

    asyncio.run(main())
    assert dict(ran) == runs
    warned = [line for line in caplog.messages if "signing policy" in line]
    assert len(warned) == bool(says)
    assert says in "".join(warned)


async def waiting(stem: Stem) -> int:
    admin = (await stem.lane()).broker.admin
    assert admin is not None
    return sum(stats.ready + stats.leased for stats in await admin.stats())


def test_a_worker_that_shall_verify_and_has_no_keys_does_not_start(store: str) -> None:
    with pytest.raises(ConfigError, match="there is no key to verify with"):
        Worker(at(store, None), signing_policy="require")


# ── a worker that can only verify ────────────────────────────────────────────


def test_who_can_only_verify_runs_retries_dead_letters_and_replays(store: str) -> None:
    async def main() -> Any:
        producer, worker = at(store, keys("private")), at(store, keys("public"))
        await producer.enqueue("shop.pay", {"name": "good"})
        failing = await producer.enqueue("shop.fail", {"name": "poor"})
        for _ in range(3):
            await burst(worker)
        [dead] = await dead_letters(worker)
        admin = (await worker.lane()).broker.admin
        assert admin is not None
        [replayed] = await admin.replay([failing])
        assert replayed.status is ReplayStatus.DONE
        for _ in range(3):
            await burst(worker)
        [again] = await dead_letters(worker)
        return dead, again

    dead, again = asyncio.run(main())
    assert dict(ran) == {"good": 1, "poor": 4}
    assert dead.reason == again.reason == "max-retries-exhausted"
    assert dead.message.signature == again.message.signature
    assert dead.message.body == again.message.body


def test_who_can_only_verify_cannot_enqueue_and_says_what_is_missing(store: str) -> None:
    async def main() -> Any:
        producer, worker = at(store, keys("private")), at(store, keys("public"))
        id = await producer.enqueue("shop.follow", {"name": "x"})
        await burst(worker)
        return await worker.status(id)

    status = asyncio.run(main())
    assert status.state is State.DEAD
    assert "no key to sign with" in status.error.message
    assert not ran


def test_a_worker_that_can_sign_signs_what_its_tasks_enqueue(store: str) -> None:
    async def main() -> None:
        stem = at(store, keys("private"))
        await stem.enqueue("shop.follow", {"name": "next"})
        await burst(stem)

    asyncio.run(main())
    assert dict(ran) == {"next": 1}


# ── keys that come and go ────────────────────────────────────────────────────


def test_what_waits_stays_good_while_keys_change(store: str) -> None:
    async def main() -> int:
        clock = FakeClock()
        source = Given([an_entry("one")])
        stem = at(store, KeyringSigner(source, clock=clock), clock=clock)
        await stem.enqueue("shop.pay", {"name": "old"})
        await stem.enqueue("shop.pay", {"name": "later"}, delay="5m")
        source.becomes(an_entry("one"), an_entry("two", data=OTHER), active="two")
        clock.advance("2s")
        await stem.enqueue("shop.pay", {"name": "new"})
        await burst(stem)
        clock.advance("5m")
        await burst(stem)
        return len(await dead_letters(stem))

    assert asyncio.run(main()) == 0
    assert dict(ran) == {"old": 1, "new": 1, "later": 1}


@pytest.mark.parametrize(
    "entry",
    [
        an_entry("one", state=KeyState.REVOKED),
        an_entry("one", valid_until_ms=1),
        an_entry("one", valid_from_ms=2**42),
        an_entry("one", data=bytes(range(50, 82))),
    ],
    ids=["revoked", "expired", "not yet valid", "exchanged"],
)
def test_what_a_key_has_signed_that_does_not_count_is_refused(store: str, entry: Any) -> None:
    async def main() -> list[Any]:
        await at(store, keys("private")).enqueue("shop.pay", {"name": "evil"})
        worker = at(store, a_signer(entry, an_entry("two", data=OTHER), active="two"))
        await burst(worker)
        return await dead_letters(worker)

    assert len(asyncio.run(main())) == 1
    assert not ran


def test_a_key_runs_nothing_outside_its_scope(store: str) -> None:
    async def main() -> list[Any]:
        producer = at(store, keys("private"))
        worker = at(store, keys("public", queues=("default",), tasks=("shop.p*",)))
        await producer.enqueue("shop.pay", {"name": "good"})
        await producer.enqueue("shop.fail", {"name": "other task"})
        await published(producer, message_of(producer, "other queue", options=queue("urgent")))
        await burst(worker)
        return await dead_letters(worker)

    dead = asyncio.run(main())
    assert dict(ran) == {"good": 1}
    assert [each.reason for each in dead] == ["signature-invalid"] * 2


def queue(name: str) -> Any:
    from stem_core.model.options import TaskOptions

    return TaskOptions(queue=name)


def test_a_signed_message_is_what_the_broker_keeps(store: str) -> None:
    async def main() -> Any:
        stem = at(store, keys("private"))
        id = await stem.enqueue("shop.pay", {"name": "x"}, delay="1h")
        [where] = await (await stem.lane()).broker.lookup([id])
        return where

    where = asyncio.run(main())
    assert where.place is Place.DELAYED
    message = where.message
    assert (message.algorithm, message.key_id, len(message.signature)) == ("ed25519", "one", 64)
    keys("public").verify(TASK, message.body, keys("private").sign(TASK, message.body))

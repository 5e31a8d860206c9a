"""One clear error for each mistake, and nothing half done."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from integration import shop
from integration.shop import stem

from stem_core.contracts.messages import Message, Place, PublishStatus
from stem_core.contracts.signer import Signer
from stem_core.model.codec import decode, encode
from stem_core.model.errors import (
    InvalidArguments,
    InvalidName,
    InvalidOption,
    NotEncodable,
    PayloadTooLarge,
    SignatureInvalid,
    SignatureMissing,
    StemError,
    TaskFailed,
)
from stem_core.model.outcome import State
from stem_core.model.seal import Seal, pae
from stem_core.model.value import replace
from stem_core.worker.burst import burst


def refused_by(error: type[StemError], **call: Any) -> StemError:
    """Enqueue a call that must be refused, and see that nothing of it is there."""
    with stem.override() as t:
        with pytest.raises(error) as caught:
            stem.blocking.enqueue(**call)
        assert t.enqueued == []
        assert t.drain() == 0
    return caught.value


def nested(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


BAD_VALUES = {
    "NaN": float("nan"),
    "infinity": float("inf"),
    "bytes": b"x",
    "a set": {1},
    "a surrogate": "\ud800",
    "keys that are no text": {1: 2},
    "too deep": nested(65),
    "far too deep": nested(100_000),
}


@pytest.mark.parametrize("value", BAD_VALUES.values(), ids=BAD_VALUES.keys())
def test_arguments_that_json_cannot_carry_are_refused_by_path(value):
    error = refused_by(NotEncodable, name="hello.print", args={"name": {"inner": value}})
    assert "name" in str(error)


def test_an_argument_above_the_limit_names_size_and_limit():
    error = refused_by(PayloadTooLarge, name="hello.print", args={"name": "x" * 2_000_000})
    assert "1048576" in str(error).replace(",", "").replace("_", "") or "1 MiB" in str(error)


@pytest.mark.parametrize("queue", ["", "two words", "a/b", "..", "a\nb", "x" * 200, "ü"])
def test_hostile_queue_names_are_refused(queue):
    with stem.override(), pytest.raises((InvalidName, InvalidOption)):
        shop.hello.using(queue=queue)


@pytest.mark.parametrize("name", ["", "two words", "a\x00b", "x" * 200])
def test_hostile_task_names_are_refused(name):
    refused_by(InvalidName, name=name)


def test_a_delay_and_a_time_together_are_refused():
    with stem.override(), pytest.raises(InvalidOption, match="not_before"):
        shop.hello.using(delay="1m", not_before=datetime(2030, 1, 1).astimezone())


@pytest.mark.parametrize(
    ("args", "kwargs", "says"),
    [
        ((), {}, "name"),
        (("a", "b"), {}, "at most 1"),
        ((), {"nme": "x"}, "nme"),
        ((7,), {}, "name"),
    ],
)
def test_a_wrong_call_fails_in_the_producer(args, kwargs, says):
    with stem.override() as t:
        with pytest.raises(InvalidArguments, match=says):
            shop.hello.call(*args, **kwargs)
        assert t.enqueued == []


# ── what only the worker can see ─────────────────────────────────────────────


async def publish(*messages: Message) -> None:
    lane = await stem.lane()
    replies = await lane.broker.publish(messages)
    assert {reply.status for reply in replies} == {PublishStatus.CREATED}


async def dead_letter(id: str):
    lane = await stem.lane()
    (where,) = await lane.broker.lookup([id])
    assert where is not None
    assert where.place is Place.DEAD
    return where


GARBAGE = {
    "nothing": b"",
    "no JSON": b"\x80\x04\x95 a pickle",
    "another JSON": b'{"hello": "world"}',
    "not UTF-8": b'{"version": 1, "id": "\xff"}',
    "UTF-16": '{"version": 1}'.encode("utf-16"),
    "deep": b"[" * 100_000,
}


@pytest.mark.parametrize("body", GARBAGE.values(), ids=GARBAGE.keys())
def test_malformed_bytes_are_dead_lettered_raw_and_harm_nobody(body):
    async def main():
        await publish(Message(id="bad", queue="default", task="hello.print", body=body))
        job = await shop.hello.enqueue("next")
        assert await burst(stem) == 2
        return await dead_letter("bad"), await job.result(timeout=10)

    with stem.override():
        where, value = asyncio.run(main())
    assert value == "Hello, next!"
    assert where.reason == "decode-error"
    assert where.message.body == body


@settings(max_examples=60)
@given(bodies=st.lists(st.binary(max_size=200), min_size=1, max_size=20))
def test_whatever_lies_in_a_queue_every_message_ends_somewhere(bodies):
    async def main():
        ids = [f"id-{number}" for number in range(len(bodies))]
        messages = [
            Message(id=id, queue="default", task="hello.print", body=body)
            for id, body in zip(ids, bodies, strict=True)
        ]
        await publish(*messages)
        assert await burst(stem) == len(bodies)
        lane = await stem.lane()
        found = await lane.broker.lookup(ids)
        return [each and each.place for each in found]

    with stem.override():
        assert set(asyncio.run(main())) == {Place.DEAD}


def test_a_newer_wire_version_is_parked_and_not_guessed_at():
    async def main():
        body = b'{"version":99,"id":"new","surprise":true}'
        await publish(Message(id="new", queue="default", task="hello.print", body=body))
        await burst(stem)
        lane = await stem.lane()
        (where,) = await lane.broker.lookup(["new"])
        assert where is not None
        return where.place

    with stem.override():
        assert asyncio.run(main()) is Place.PARKED


@pytest.mark.parametrize("args", [{}, {"name": 7}, {"name": "x", "extra": 1}, {"nme": "x"}])
def test_arguments_that_do_not_fit_are_dead_lettered_without_a_run(args):
    with stem.override() as t:
        producer_without_code = stem.registry._tasks.pop("hello.print")
        try:
            task_id = stem.blocking.enqueue("hello.print", args)
        finally:
            stem.registry._tasks["hello.print"] = producer_without_code
        t.drain()
        status = stem.blocking.status(task_id)
    assert not shop.runs
    assert status is not None
    assert (status.state, status.reason, status.attempt) == (State.DEAD, "arguments-mismatch", 0)
    assert status.error is not None
    assert "name" in status.error.message or "extra" in status.error.message


@pytest.mark.parametrize(
    "kind", ["a set of objects", "bytes", "nan", "huge", "an object", "a surrogate"]
)
def test_a_result_that_json_cannot_carry_is_said_and_not_run_again(kind):
    with stem.override() as t:
        job = shop.returns.blocking.enqueue(kind)
        t.drain()
        status = job.status()
        with pytest.raises(TaskFailed):
            job.result(timeout=10)
    assert shop.runs["returns"] == 1
    assert status is not None
    assert (status.state, status.reason, status.attempt) == (State.DEAD, "result-encode-error", 1)


# ── signatures ───────────────────────────────────────────────────────────────


class Toy(Signer):
    """Signs with a checksum: enough to see what a worker does about signatures."""

    can_sign = True
    key_ids = ("k1",)

    def sign(self, purpose: str, body: bytes) -> Seal:
        return Seal("toy", "k1", self._sum(purpose, body))

    def verify(self, purpose: str, body: bytes, seal: Seal) -> None:
        if seal.is_empty:
            raise SignatureMissing("not signed")
        if seal != Seal("toy", "k1", self._sum(purpose, body)):
            raise SignatureInvalid("not by us")

    def _sum(self, purpose: str, body: bytes) -> bytes:
        return sum(pae(purpose, "toy", "k1", body)).to_bytes(8, "big")


def test_a_signed_task_runs():
    with stem.override(signer=Toy()) as t:
        job = shop.hello.blocking.enqueue("signed")
        t.drain()
        assert job.result(timeout=10) == "Hello, signed!"


def unsigned(message: Message) -> Message:
    return replace(message, id="forged", key_id="", algorithm="", signature=b"")


def changed(message: Message) -> Message:
    return replace(message, id="forged", body=message.body.replace(b"ada", b"eve"))


def moved(message: Message) -> Message:
    return replace(message, id="forged")


@pytest.mark.parametrize(
    ("forge", "reason"),
    [
        (unsigned, "signature-missing"),
        (changed, "signature-invalid"),
        (moved, "signature-invalid"),
    ],
)
def test_a_forged_message_is_dead_lettered_and_writes_nothing_under_the_id_it_claims(forge, reason):
    async def main():
        job = await shop.hello.enqueue("ada")
        lane = await stem.lane()
        (where,) = await lane.broker.lookup([job.id])
        assert where is not None
        await publish(forge(where.message))
        assert await burst(stem) == 2
        assert lane.backend is not None
        (record,) = await lane.backend.load(["forged"])
        return record, (await dead_letter("forged")).reason, await job.result(timeout=10)

    with stem.override(signer=Toy()):
        assert asyncio.run(main()) == (None, reason, "Hello, ada!")
    assert dict(shop.runs) == {"ada": 1}


def test_a_worker_without_keys_finds_out_that_a_message_was_moved():
    async def main():
        job = await shop.hello.enqueue("ada")
        lane = await stem.lane()
        (where,) = await lane.broker.lookup([job.id])
        assert where is not None
        envelope = decode(where.message.body)
        other = replace(where.message, id="other", queue="elsewhere", body=encode(envelope))
        await publish(other)
        await burst(stem)
        return (await dead_letter("other")).reason

    with stem.override():
        assert asyncio.run(main()) == "decode-error"

"""Following the stream of a real server: what a look sees meanwhile, and what does not end it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from secrets import token_hex
from typing import Any

import pytest
from nats_broker.broker import NatsBroker
from nats_broker.link import Link, Target, connect
from nats_broker.options import NatsOptions
from nats_broker.server_clock import ServerClock
from nats_broker.stream import target_of
from nats_broker.tail import Tail
from nats_broker.values import Entry, name_of
from nats_broker.view import View

import stem_core.plugin as stem

LATER_MS = 1 << 50


class Willful(Link):
    """A link that can be told to fail in ways that nobody expects, and to hold a question back.

    Attributes:
        faults: raised by those who make a consumer, in order.
        gate: who makes a consumer waits for it.
        is_held: somebody has come there.
        deaf: so many cancellations of who waits there get lost.
    """

    def __init__(self, client: Any, target: Target) -> None:
        super().__init__(client, target)
        self.faults: list[Exception] = []
        self.gate, self.is_held = asyncio.Event(), asyncio.Event()
        self.gate.set()
        self.deaf = 0

    async def ask(self, verb: str, body: Mapping[str, Any]) -> dict[str, Any] | None:
        if "CONSUMER.CREATE" in verb:
            self.is_held.set()
            await self._pass()
            if self.faults:
                raise self.faults.pop(0)
        return await super().ask(verb, body)

    async def _pass(self) -> None:
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.deaf -= 1
            if self.deaf < 0:
                raise


class Follower:
    """A broker that writes to a stream, and a view that follows it."""

    def __init__(self, broker: NatsBroker, link: Willful) -> None:
        self.broker, self.link, self.view = broker, link, View()
        clock = ServerClock(lambda: 0)
        self.tail = Tail(link, self.view, clock, lambda: None)

    async def publish(self, *ids: str) -> None:
        await self.broker.publish(
            [stem.Message(id=id, queue="q", task="t", body=b"{}") for id in ids]
        )

    async def catch_up(self) -> None:
        info = await self.link.ask(f"STREAM.INFO.{self.link.target.stream}", {})
        assert info is not None
        await self.tail.reach(int(info["state"]["last_seq"]))

    def knows(self, *ids: str) -> list[bool]:
        return [self.view.get(name_of(Entry, id)) is not None for id in ids]


@asynccontextmanager
async def following(url: str, *ids: str) -> AsyncIterator[Follower]:
    """Give a follower of a stream with the messages *ids*, which it knows."""
    namespace, options, near = f"tests-{token_hex(6)}", NatsOptions(), stem.StemURL.parse(url)
    broker = await NatsBroker.open(near, options, stem.PluginContext(namespace=namespace))
    target = target_of(near, options, namespace)
    link = Willful(await connect(target, is_patient=True), target)
    follower = Follower(broker, link)
    try:
        await follower.publish(*ids)
        await follower.tail.open()
        yield follower
    finally:
        await follower.tail.aclose()
        await link.aclose()
        await broker.aclose()


def test_a_look_while_the_stream_is_read_anew_sees_all_of_it(nats_url: str) -> None:
    async def main() -> None:
        async with following(nats_url, "a", "b") as follower:
            follower.link.gate.clear()
            follower.link.is_held.clear()
            follower.tail.restart()
            await asyncio.wait_for(follower.link.is_held.wait(), 5)
            assert follower.knows("a", "b") == [True, True]
            assert follower.view.free(["q"], 9, LATER_MS) == ["a", "b"]
            follower.link.gate.set()
            await follower.publish("c")
            await follower.catch_up()
            assert follower.knows("a", "b", "c") == [True, True, True]
            assert follower.view.free(["q"], 9, LATER_MS) == ["a", "b", "c"]

    asyncio.run(main())


def test_a_look_sees_a_stream_of_many_values_whole_or_not_yet(nats_url: str) -> None:
    async def main() -> None:
        ids = [f"m{n:03}" for n in range(200)]
        async with following(nats_url, *ids) as follower:
            seen, sequence = set(), follower.view.last
            for _ in range(5):
                follower.link.is_held.clear()
                follower.tail.restart()
                await asyncio.wait_for(follower.link.is_held.wait(), 5)
                for _ in range(50):
                    await asyncio.sleep(0)
                    seen.add((sum(follower.knows(*ids)), follower.view.last >= sequence))
                await follower.catch_up()
            assert seen == {(200, True)}

    asyncio.run(main())


def test_what_the_server_dropped_meanwhile_is_gone_once_the_stream_is_read_anew(
    nats_url: str,
) -> None:
    async def main() -> None:
        async with following(nats_url, "a", "b") as follower:
            sequence = follower.view.sequence(name_of(Entry, "a"))
            follower.link.gate.clear()
            follower.link.is_held.clear()
            follower.tail.restart()
            await asyncio.wait_for(follower.link.is_held.wait(), 5)
            stream = follower.link.target.stream
            await follower.link.ask(f"STREAM.MSG.DELETE.{stream}", {"seq": sequence})
            follower.link.gate.set()
            await follower.publish("c")
            await follower.catch_up()
            assert follower.knows("a", "b", "c") == [False, True, True]

    asyncio.run(main())


def test_an_error_that_nobody_expects_is_logged_and_the_stream_is_followed_again(
    nats_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with following(nats_url, "a") as follower:
            follower.link.faults = [ValueError("no JSON"), KeyError("name")]
            follower.tail.restart()
            await follower.publish("b")
            await follower.catch_up()
            assert follower.knows("a", "b") == [True, True]
            assert follower.link.faults == []

    with caplog.at_level(logging.ERROR, "stem.nats"):
        asyncio.run(main())
    told = [(record.getMessage(), record.exc_info) for record in caplog.records]
    assert [text.split(": ", 1)[1] for text, _ in told] == [
        "following the stream failed; again in 0.2 s",
        "following the stream failed; again in 0.4 s",
    ]
    assert [cause[0] for _, cause in told if cause] == [ValueError, KeyError]


def test_a_tail_ends_though_a_cancellation_gets_lost(nats_url: str) -> None:
    """As it does in a `wait_for` of Python 3.11 that meets the answer."""

    async def main() -> None:
        async with following(nats_url, "a") as follower:
            follower.link.gate.clear()
            follower.link.is_held.clear()
            follower.link.deaf = 1
            follower.tail.restart()
            await asyncio.wait_for(follower.link.is_held.wait(), 5)
            await asyncio.wait_for(follower.tail.aclose(), 5)
            assert follower.link.deaf <= 0

    asyncio.run(main())

"""What the kit cannot know: URLs that are refused, a server that dies, an id that is dropped."""

from __future__ import annotations

import asyncio
from secrets import token_hex

import pytest
from nats_broker.broker import NatsBroker
from nats_broker.options import NatsOptions
from nats_server import Server, running
from stages import Keeper

import stem_core.plugin as stem
from stem_core.plugin import PublishStatus, SettleStatus


async def opened(url: str, namespace: str = "", replicas: int = 1) -> NatsBroker:
    context = stem.PluginContext(namespace=namespace or f"tests-{token_hex(6)}")
    options = NatsOptions(replicas=replicas)
    return await NatsBroker.open(stem.StemURL.parse(url), options, context)


def message(id: str) -> stem.Message:
    return stem.Message(id=id, queue="q", task="t", body=b"{}")


@pytest.mark.parametrize("url", ["nats://", "nats:///folder", "nats://host/folder"])
def test_a_url_that_names_no_server_is_refused(url: str) -> None:
    with pytest.raises(stem.InvalidURL, match="is not a server"):
        asyncio.run(opened(url))


def test_more_replicas_than_a_stream_can_have_are_refused() -> None:
    with pytest.raises(stem.InvalidOption, match="replicas"):
        asyncio.run(opened("nats://localhost:4222", replicas=6))


def test_a_server_that_is_not_there_is_said_so_at_once() -> None:
    with pytest.raises(stem.StoreUnavailable):
        asyncio.run(asyncio.wait_for(opened("nats://127.0.0.1:1"), 4))


def test_what_a_lone_server_refuses_is_told_in_its_own_words() -> None:
    with running() as server, pytest.raises(stem.StoreMisconfigured, match="replicas"):
        asyncio.run(opened(server.url, replicas=3))


def test_a_namespace_may_hold_what_a_subject_may_not(nats_url: str) -> None:
    async def publish_and_take() -> str:
        broker = await opened(nats_url, f"shop.*.{token_hex(6)} 🌱")
        await broker.publish([message("m")])
        (delivery,) = await broker.fetch(["q"], limit=1, wait_ms=0, worker="w")
        await broker.aclose()
        return delivery.message.id

    assert asyncio.run(publish_and_take()) == "m"


def test_what_was_confirmed_survives_the_kill_of_the_server_and_handles_come_back() -> None:
    async def live_through(server: Server) -> list[str]:
        broker = await opened(server.url)
        replies = await broker.publish([message(f"m{n}") for n in range(50)])
        assert {reply.status for reply in replies} == {PublishStatus.CREATED}
        waiting = asyncio.ensure_future(
            broker.fetch(["other"], limit=1, wait_ms=60_000, worker="w")
        )
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
        taken = await broker.fetch(["q"], limit=50, wait_ms=10_000, worker="w")
        settled = await broker.settle([stem.Settlement(receipt=d.receipt) for d in taken])
        assert {reply.status for reply in settled} == {SettleStatus.DONE}
        await broker.publish([stem.replace(message("late"), queue="other")])
        (late,) = await asyncio.wait_for(waiting, 30)
        await broker.aclose()
        return [*(delivery.message.id for delivery in taken), late.message.id]

    with running() as server:
        assert asyncio.run(live_through(server)) == [*(f"m{n}" for n in range(50)), "late"]


def test_an_id_that_the_server_dropped_at_the_end_of_its_time_can_be_published_again(
    nats_url: str,
) -> None:
    async def forget_and_publish() -> PublishStatus:
        namespace = f"tests-{token_hex(6)}"
        broker = await opened(nats_url, namespace)
        short = stem.replace(message("m"), dedupe_for_ms=500)
        await broker.publish([short])
        (delivery,) = await broker.fetch(["q"], limit=1, wait_ms=0, worker="w")
        await broker.settle([stem.Settlement(receipt=delivery.receipt)])
        keeper = Keeper.of(nats_url, namespace)
        async with asyncio.timeout(20):
            while await keeper.leftovers():  # noqa: ASYNC110  # the server tells nobody
                await asyncio.sleep(0.05)
        (reply,) = await broker.publish([short])
        await broker.aclose()
        return reply.status

    assert asyncio.run(forget_and_publish()) is PublishStatus.CREATED

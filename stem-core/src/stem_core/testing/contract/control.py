"""What a broker promises to the control plane."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from stem_core.contracts.control import ControlChannel, ControlMessage
from stem_core.model.errors import StoreError
from stem_core.testing.contract.promise import promise
from stem_core.testing.contract.stage import Stage
from stem_core.testing.contract.staging import OnBroker

__all__ = ["ControlContract"]


class ControlContract(OnBroker):
    """`ControlChannel`, for brokers that broadcast."""

    @promise("CONTROL-1", needs=("broadcast",))
    async def test_every_listener_gets_each_message_once_and_in_order(self, stage: Stage) -> None:
        listeners = [
            await stage.start(hear(handle.control, 3)) for handle in (stage.broker, stage.sibling())
        ]
        sent = [ControlMessage(body=bytes([n]), signature=b"s") for n in range(3)]
        for one in sent:
            await stage.control.send(one)
        assert await asyncio.gather(*listeners) == [sent, sent]

    @promise("CONTROL-2", needs=("broadcast", "cut"))
    async def test_a_listener_outlives_its_connection(self, stage: Stage) -> None:
        assert stage.cut is not None
        listening = await stage.start(hear(stage.sibling().control, 2))
        await stage.control.send(ControlMessage(body=b"before"))
        await stage.breathe()
        await stage.cut()
        # Who is not listening misses it, so say it until it is heard; whoever speaks was cut
        # off, too, and may be told so.
        while not listening.done():
            with suppress(StoreError):
                await stage.control.send(ControlMessage(body=b"after"))
            await stage.breathe()
        assert [each.body for each in await listening] == [b"before", b"after"]


async def hear(channel: ControlChannel | None, count: int) -> list[ControlMessage]:
    """Listen until *count* messages have come."""
    assert channel is not None, "the broker's `control` is None"
    heard: list[ControlMessage] = []
    async for message in channel.listen():
        heard.append(message)
        if len(heard) == count:
            break
    return heard

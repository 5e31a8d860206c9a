"""What a broker promises to the control plane."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from stem_core.contracts.control import ControlChannel, ControlMessage
from stem_core.model.errors import StoreError
from stem_core.testing.contract.promise import promise
from stem_core.testing.contract.stage import Stage
from stem_core.testing.contract.staging import OnBroker

__all__ = ["ControlContract"]

_PROBE = ControlMessage(body=b"does anybody listen?")


class ControlContract(OnBroker):
    """`ControlChannel`, for brokers that broadcast."""

    @promise("CONTROL-1", needs=("broadcast",))
    async def test_every_listener_gets_each_message_once_and_in_order(self, stage: Stage) -> None:
        ears = [_Ear(handle.control) for handle in (stage.broker, stage.sibling())]
        listeners = [await stage.start(ear.hear(3)) for ear in ears]
        await _all_listen(stage, ears, listeners)
        sent = [ControlMessage(body=bytes([n]), signature=b"s") for n in range(3)]
        for one in sent:
            await stage.control.send(one)
        await asyncio.gather(*listeners)
        assert [ear.heard for ear in ears] == [sent, sent]

    @promise("CONTROL-2", needs=("broadcast", "cut"))
    async def test_a_listener_outlives_its_connection(self, stage: Stage) -> None:
        assert stage.cut is not None
        ear = _Ear(stage.sibling().control)
        listening = await stage.start(ear.hear(2))
        await _all_listen(stage, [ear], [listening])
        await stage.control.send(ControlMessage(body=b"before"))
        while not ear.heard:
            await stage.breathe()
        await stage.cut()
        # Who is not listening misses it, so say it until it is heard; whoever speaks was cut
        # off, too, and may be told so.
        while not listening.done():
            with suppress(StoreError):
                await stage.control.send(ControlMessage(body=b"after"))
            await stage.breathe()
        await listening
        assert [each.body for each in ear.heard] == [b"before", b"after"]


class _Ear:
    """What a listener has heard, but for probes, and whether it has heard a probe."""

    def __init__(self, channel: ControlChannel | None) -> None:
        assert channel is not None, "the broker's `control` is None"
        self._channel = channel
        self.is_open = False
        self.heard: list[ControlMessage] = []

    async def hear(self, count: int) -> None:
        """Listen until *count* messages have come that are no probes."""
        async for message in self._channel.listen():
            if message.body == _PROBE.body:
                self.is_open = True
                continue
            self.heard.append(message)
            if len(self.heard) == count:
                break


async def _all_listen(
    stage: Stage, ears: Sequence[_Ear], listeners: Sequence[asyncio.Task[None]]
) -> None:
    """Return when each of *ears* hears: one may yet be on its way to the store."""
    while not all(ear.is_open for ear in ears):
        await stage.control.send(_PROBE)
        await stage.breathe()
        for listener in listeners:
            if listener.done():
                await listener
                raise AssertionError("a listener ended before it was sent anything else")

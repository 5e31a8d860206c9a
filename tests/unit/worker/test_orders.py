"""What a worker hears on the control channel, and that it never gives up listening."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from stem_core.contracts.control import ControlChannel, ControlMessage
from stem_core.model.errors import StoreError, StoreMisconfigured
from stem_core.producer.vouching import ControlReader, ControlWriter
from stem_core.testing.clock import FakeClock
from stem_core.worker.orders import Orders


class Deaf(ControlChannel):
    """A channel that fails each time with the next of *errors*, and then has one message."""

    def __init__(self, clock: FakeClock, *errors: StoreError) -> None:
        self.writer = ControlWriter("stem", None, clock=clock)
        self.errors = list(errors)

    async def send(self, message: ControlMessage) -> None:
        raise NotImplementedError

    async def listen(self) -> AsyncIterator[ControlMessage]:
        if self.errors:
            raise self.errors.pop(0)
        yield self.writer.write({"do": "look", "id": "m"})


def heard(channel: ControlChannel, clock: FakeClock) -> list[str]:
    """Listen until the channel ends by itself; return the tasks that were to be looked at."""
    found: list[str] = []

    async def main() -> None:
        reader = ControlReader("stem", None, clock=clock)
        listening = asyncio.create_task(Orders(channel, reader, clock, look=found.append).run())
        for _ in range(10_000):
            await asyncio.sleep(0)
            if listening.done():
                break
            if clock.sleepers:
                clock.advance(1)
        await listening

    asyncio.run(main())
    return found


def test_who_may_not_listen_now_listens_once_that_is_mended(caplog: pytest.LogCaptureFixture):
    clock = FakeClock()
    refused = [StoreMisconfigured("no trusted TLS connection") for _ in range(20)]
    assert heard(Deaf(clock, *refused), clock) == ["m"]
    assert clock.monotonic_ms() <= 20 * 30_000
    assert caplog.text.count("cancels are heard of later") == 1


def test_each_new_reason_not_to_listen_is_told_once(caplog: pytest.LogCaptureFixture):
    errors = [StoreMisconfigured(why) for why in ("one", "one", "two", "two", "two")]
    clock = FakeClock()
    heard(Deaf(clock, *errors), clock)
    assert caplog.text.count("cancels are heard of later") == 2

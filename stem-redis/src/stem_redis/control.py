"""The control channel over publish and subscribe."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final

import msgspec

from stem_core.plugin import SYSTEM_DICE, ControlChannel, ControlMessage, Fault, StoreError
from stem_redis.line import Line

if TYPE_CHECKING:
    from stem_redis.broker import RedisStreamsBroker

__all__ = ["MAX_CONTROL_BODY", "RedisControl"]

MAX_CONTROL_BODY: Final = 64 * 1024
_FIRST_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 10.0
"""Longer than others wait for a server that is away: who missed a message misses little."""
_PAUSES: Final = 6
"""So many in a row, while nobody else of this handle reaches the server either."""

_write: Final = msgspec.msgpack.Encoder().encode
_read: Final = msgspec.msgpack.Decoder(tuple[bytes, str, str, bytes]).decode


class RedisControl(ControlChannel):
    """Fan-out to whoever listens in one namespace."""

    def __init__(self, broker: RedisStreamsBroker) -> None:
        self._broker = broker
        store = broker.store
        # Channels know no logical databases, and another one is another store.
        self._channel = f"{store.prefix}control:{store.location.db}"

    async def send(self, message: ControlMessage) -> None:
        if len(message.body) > MAX_CONTROL_BODY:
            raise ValueError(
                f"a control message of {len(message.body)} bytes, more than {MAX_CONTROL_BODY}"
            )
        data = _write((message.body, message.key_id, message.algorithm, message.signature))
        await self._broker.enter().command("PUBLISH", self._channel, data)

    async def listen(self) -> AsyncIterator[ControlMessage]:
        line: Line | None = None
        pause_s, may_listen = _FIRST_PAUSE_S, False
        try:
            while True:
                try:
                    if line is None:
                        line = await self._subscribed()
                    pushed = await line.read()
                    pause_s, may_listen = _FIRST_PAUSE_S, True
                except StoreError as error:
                    # Rights and passwords that were right are put right again.
                    if error.fault is Fault.DATA or (
                        error.fault is Fault.FATAL_CONFIG and not may_listen
                    ):
                        raise
                    line = None
                    await self._pause(pause_s)
                    pause_s = min(4 * pause_s, _LONGEST_PAUSE_S)
                    continue
                if pushed[0] == b"message":
                    yield _read_message(pushed[2])
        finally:
            if line is not None:
                line.close()

    async def _pause(self, pause_s: float) -> None:
        """Wait, and longer while there is no sign that the server is back: a fleet whose server
        is away makes no more connections than its other calls need."""
        server = self._broker.enter()
        calls, jittered_s = server.calls, pause_s * SYSTEM_DICE.roll()
        for _ in range(_PAUSES):
            await asyncio.sleep(jittered_s)
            if server.calls != calls:
                break

    async def _subscribed(self) -> Line:
        line = await self._broker.enter().lend()
        line.send("SUBSCRIBE", self._channel)
        return line


def _read_message(data: bytes) -> ControlMessage:
    try:
        body, key_id, algorithm, signature = _read(data)
    except msgspec.DecodeError:
        # Somebody else wrote to the channel: without a signature it convinces nobody.
        return ControlMessage(body=data)
    return ControlMessage(body=body, key_id=key_id, algorithm=algorithm, signature=signature)

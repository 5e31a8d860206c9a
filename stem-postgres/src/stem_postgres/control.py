"""The control channel: a table of the last moments, and a wake for each row."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Final

from stem_core.plugin import ControlChannel, ControlMessage, Fault, StoreError
from stem_postgres.connection import Listener

if TYPE_CHECKING:
    from stem_postgres.broker import PostgresBroker

__all__ = ["MAX_CONTROL_BODY", "PostgresControl"]

MAX_CONTROL_BODY: Final = 64 * 1024
_LOOK_MS: Final = 5_000
_FIRST_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 1.0


class PostgresControl(ControlChannel):
    """Fan-out to whoever listens in one namespace."""

    def __init__(self, broker: PostgresBroker) -> None:
        self._broker = broker

    async def send(self, message: ControlMessage) -> None:
        if len(message.body) > MAX_CONTROL_BODY:
            raise ValueError(
                f"a control message of {len(message.body)} bytes, more than {MAX_CONTROL_BODY}"
            )
        wanted: dict[str, Any] = {
            "body": message.body,
            "key_id": message.key_id,
            "algorithm": message.algorithm,
            "signature": message.signature,
        }
        await self._broker.run("companions.send", {**self._broker.here, **wanted})

    async def listen(self) -> AsyncIterator[ControlMessage]:
        listener: Listener | None = None
        last: int | None = None
        pause_s = _FIRST_PAUSE_S
        try:
            while True:
                try:
                    if last is None:
                        last = await self._last()
                    listener = listener or await self._listening()
                    rows = await self._since(last)
                    pause_s = _FIRST_PAUSE_S
                    if not rows:
                        await self._wait(listener)
                except StoreError as error:
                    if error.fault in (Fault.FATAL_CONFIG, Fault.DATA):
                        raise
                    listener = None
                    await asyncio.sleep(pause_s)
                    pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
                    continue
                for n, body, key_id, algorithm, signature in rows:
                    last = n
                    yield ControlMessage(
                        body=body, key_id=key_id, algorithm=algorithm, signature=signature
                    )
        finally:
            if listener is not None:
                listener.close()

    async def _last(self) -> int:
        ((last,),) = await self._broker.run("companions.last_sent", (self._broker.store.ns,))
        return int(last)

    async def _since(self, last: int) -> list[tuple[Any, ...]]:
        return await self._broker.run("companions.sent_since", (self._broker.store.ns, last))

    async def _listening(self) -> Listener | None:
        """Return what is told of new rows; None behind a pooler, where one only looks."""
        store = self._broker.store
        if store.location.options.pooler:
            return None
        return await self._broker.enter().listen(store.channel)

    async def _wait(self, listener: Listener | None) -> None:
        if listener is None:
            await asyncio.sleep(self._broker.store.location.options.poll / 1000)
            return
        while True:
            told = await listener.heard(_LOOK_MS)
            if not told or "c" in told:
                return

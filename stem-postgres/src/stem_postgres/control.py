"""The control channel: a table of the last moments, and a wake for each row."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Final

from stem_core.plugin import ControlChannel, ControlMessage, Fault, Nap, StoreError
from stem_postgres.wakes import CONTROL_WORD

if TYPE_CHECKING:
    from stem_postgres.broker import PostgresBroker

__all__ = ["MAX_CONTROL_BODY", "PostgresControl"]

MAX_CONTROL_BODY: Final = 64 * 1024
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
        broker, nap = self._broker, Nap()
        last: int | None = None
        pause_s, may_listen = _FIRST_PAUSE_S, False
        broker.wakes.note(nap, [CONTROL_WORD])
        try:
            while True:
                try:
                    if last is None:
                        last = await self._last()
                    within_ms = await self._follow()
                    rows = await self._since(last)
                    pause_s, may_listen = _FIRST_PAUSE_S, True
                    if not rows:
                        await self._rest(nap, within_ms)
                        if broker.is_closed:
                            return
                except StoreError as error:
                    # Rights and passwords that were right are put right again.
                    if error.fault is Fault.DATA or (
                        error.fault is Fault.FATAL_CONFIG and not may_listen
                    ):
                        raise
                    await asyncio.sleep(pause_s)
                    pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
                    continue
                for n, body, key_id, algorithm, signature in rows:
                    last = n
                    yield ControlMessage(
                        body=body, key_id=key_id, algorithm=algorithm, signature=signature
                    )
        finally:
            broker.wakes.leave(nap)

    async def _last(self) -> int:
        ((last,),) = await self._broker.run("companions.last_sent", (self._broker.store.ns,))
        return int(last)

    async def _since(self, last: int) -> list[tuple[Any, ...]]:
        return await self._broker.run("companions.sent_since", (self._broker.store.ns, last))

    @property
    def _only_looks(self) -> bool:
        return not self._broker.store.listens

    async def _follow(self) -> int:
        """Be told of new rows from now on; return when to see to that again, in milliseconds."""
        if self._only_looks:
            return self._broker.store.location.options.poll
        return await self._broker.wakes.follow(self._broker.enter())

    async def _rest(self, nap: Nap, within_ms: int) -> None:
        if self._only_looks:
            await asyncio.sleep(within_ms / 1000)
        else:
            clock = self._broker.store.clock
            await nap.sleep(clock, clock.monotonic_ms() + within_ms)

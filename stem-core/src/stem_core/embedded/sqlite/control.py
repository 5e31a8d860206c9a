"""The control channel of a SQLite store: a short log that every listener reads on from."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final

from stem_core.contracts.control import ControlChannel, ControlMessage
from stem_core.embedded.sqlite.handle import SqliteHandle
from stem_core.embedded.sqlite.transaction import Reading, Writing
from stem_core.embedded.waiting import Nap
from stem_core.model.errors import StoreError

__all__ = ["MAX_CONTROL_BODY", "SqliteControl"]

MAX_CONTROL_BODY: Final = 64 * 1024
_PAUSE_S: Final = 0.5


class SqliteControl(ControlChannel):
    """Fan-out to all who listen on this machine."""

    def __init__(self, handle: SqliteHandle) -> None:
        self._handle = handle

    async def send(self, message: ControlMessage) -> None:
        if len(message.body) > MAX_CONTROL_BODY:
            raise ValueError(
                f"a control message of {len(message.body)} bytes, more than {MAX_CONTROL_BODY}"
            )
        await self._handle.enter().write(_send, message)

    async def listen(self) -> AsyncIterator[ControlMessage]:
        store, nap = self._handle.enter(), Nap()
        began_ms = store.clock.monotonic_ms()
        last: int | None = None
        try:
            store.waiters.listen(nap)
            while True:
                try:
                    if last is None:
                        last = await store.read(_last_before, lambda: store.instant_ms(began_ms))
                    heard = await store.read(_since, last)
                except StoreError:  # the file is away for a while: go on when it is back
                    await asyncio.sleep(_PAUSE_S)
                    continue
                for number, message in heard:
                    last = number
                    yield message
                if not heard:
                    await nap.wait()
        finally:
            store.waiters.unlisten(nap)


def _send(txn: Writing, message: ControlMessage) -> None:
    txn.do(
        "companions.send",
        txn.now_ms, message.body, message.key_id, message.algorithm, message.signature,
    )  # fmt: skip
    txn.effects.has_spoken = True


def _last_before(txn: Reading, instant_ms: Callable[[], int]) -> int:
    """Return the last message from before the instant, which is known once the file is open."""
    row = txn.one("companions.last_before", instant_ms())
    return int(row[0]) if row is not None else 0


def _since(txn: Reading, number: int) -> Sequence[tuple[int, ControlMessage]]:
    return [
        (
            n,
            ControlMessage(body=body, key_id=key_id, algorithm=algorithm, signature=signature),
        )
        for n, body, key_id, algorithm, signature in txn.all("companions.sent_since", number)
    ]

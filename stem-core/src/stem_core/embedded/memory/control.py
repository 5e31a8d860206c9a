"""The control channel of a memory store: each listener has its own short queue."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from typing import Final

from stem_core.contracts.control import ControlChannel, ControlMessage
from stem_core.embedded.memory.handle import MemoryHandle
from stem_core.embedded.waiting import Nap

__all__ = ["MAX_CONTROL_BODY", "MemoryControl"]

MAX_CONTROL_BODY: Final = 64 * 1024
_BACKLOG: Final = 1024
"""A listener that stops reading loses the oldest beyond this many, and nobody waits for it."""


class MemoryControl(ControlChannel):
    """Fan-out inside this process."""

    def __init__(self, handle: MemoryHandle) -> None:
        self._handle = handle

    async def send(self, message: ControlMessage) -> None:
        if len(message.body) > MAX_CONTROL_BODY:
            raise ValueError(
                f"a control message of {len(message.body)} bytes, more than {MAX_CONTROL_BODY}"
            )
        self._handle.enter().broadcast(message)

    async def listen(self) -> AsyncIterator[ControlMessage]:
        store, nap = self._handle.enter(), Nap()
        inbox: deque[ControlMessage] = deque(maxlen=_BACKLOG)

        def deliver(message: ControlMessage) -> None:
            inbox.append(message)
            nap.wake()

        store.add_listener(deliver)
        try:
            while True:
                while inbox:
                    yield inbox.popleft()
                await nap.wait()
        finally:
            store.remove_listener(deliver)

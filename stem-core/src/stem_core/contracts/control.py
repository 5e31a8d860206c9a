"""The control channel: small messages to every live worker."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator

from stem_core.model.value import Value

__all__ = ["ControlChannel", "ControlMessage"]


class ControlMessage(Value, frozen=True, gc=False, kw_only=True):
    """One control message: an opaque body with a detached signature; at most 64 KiB."""

    body: bytes
    key_id: str = ""
    algorithm: str = ""
    signature: bytes = b""


class ControlChannel(ABC):
    """Fan-out without memory: who is not listening does not get it."""

    @abstractmethod
    async def send(self, message: ControlMessage) -> None:
        """Hand *message* to every live listener. [CONTROL-1] At most once each, in order."""

    @abstractmethod
    def listen(self) -> AsyncIterator[ControlMessage]:
        """Yield what is sent from the first step of the iterator on.

        [CONTROL-2] A lost connection is made again without ending the iterator.
        """

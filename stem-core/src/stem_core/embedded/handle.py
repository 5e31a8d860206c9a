"""What the brokers and backends of embedded stores have in common: a handle to a shared store."""

from __future__ import annotations

import asyncio
from typing import Generic, Protocol, Self, TypeVar

from stem_core.model.errors import UsageError, WrongLoop

__all__ = ["Handle", "SharedStore"]


class SharedStore(Protocol):
    """What handles of one process share; *generation* grows in a forked child."""

    generation: int

    @property
    def store_id(self) -> str: ...

    def warn_of_fork(self) -> None: ...


S = TypeVar("S", bound=SharedStore)


class Handle(Generic[S]):
    """One user of a store: belongs to the event loop that first awaits it.

    Attributes:
        store: what all handles of one place share.
        is_closed: True after `aclose`.
    """

    store: S
    is_closed: bool

    def _bind(self, store: S) -> None:
        self.store = store
        self._loop: asyncio.AbstractEventLoop | None = None
        self._generation = -1
        self.is_closed = False

    @property
    def store_id(self) -> str:
        """The identity of the store and namespace."""
        return self.store.store_id

    def enter(self) -> S:
        """Return the store, for one verb in the running loop.

        Raises:
            WrongLoop: another loop or process awaited this handle first.
            UsageError: the handle is closed.
        """
        loop = asyncio.get_running_loop()
        if loop is not self._loop or self._generation != self.store.generation:
            self._belong_to(loop)
        return self.store

    def _belong_to(self, loop: asyncio.AbstractEventLoop) -> None:
        kind = type(self).__name__
        if self.is_closed:
            raise UsageError(
                f"this {kind} is closed", way_out="Open another one, or take a sibling()."
            )
        if self._loop is not None:
            raise WrongLoop(
                f"this {kind} belongs to another event loop or process",
                way_out="Take a sibling() for each loop.",
            )
        self._loop = loop
        self._generation = self.store.generation
        self.store.warn_of_fork()

    def sibling(self) -> Self:
        """Return a second handle to the same store, for another loop or thread."""
        twin = self.__class__.__new__(self.__class__)
        twin._bind(self.store)
        return twin

    async def aclose(self) -> None:
        """End the use of this handle; the store stays. Idempotent, in any loop."""
        self.is_closed = True
        self._loop = None

"""What the broker and the backend of memory have in common: a handle to a shared store."""

from __future__ import annotations

import asyncio
from typing import Any, Final, Self

from stem_core.contracts.clock import SYSTEM_CLOCK, Clock
from stem_core.contracts.hookspecs import PluginContext
from stem_core.embedded.memory.store import MemoryStore
from stem_core.model.errors import ConfigError, InvalidURL, UsageError, WrongLoop
from stem_core.model.urls import StemURL

__all__ = ["Handle"]

_IN_MEMORY: Final = (
    "memory:// lives in this process only: another process cannot see it, and it ends with this one"
)


class Handle:
    """One user of a memory store: belongs to the event loop that first awaits it.

    Equal names and namespaces share one store in this process.

    Attributes:
        store: what all handles of one name share.
        is_closed: True after `aclose`.
    """

    def __init__(
        self,
        name: str = "default",
        *,
        namespace: str = "stem",
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._bind(MemoryStore.named(name, namespace, clock))

    def _bind(self, store: MemoryStore) -> None:
        self.store = store
        self._loop: asyncio.AbstractEventLoop | None = None
        self._generation = -1
        self.is_closed = False

    @classmethod
    async def connect(cls, url: str | StemURL = "memory://", *, namespace: str = "stem") -> Self:
        """Open *url*, such as ``memory://orders``."""
        parsed = url if isinstance(url, StemURL) else StemURL.parse(url)
        return await cls.open(parsed, None, PluginContext(namespace=namespace))

    @classmethod
    async def open(cls, url: StemURL, options: Any, context: PluginContext) -> Self:
        """Open *url* for Stem; *options* is None, for memory has none."""
        if context.tls.is_enabled:
            raise ConfigError(
                "memory:// has no connection to encrypt, and TLS settings are given",
                way_out="Remove STEM_TLS_*, or choose a store that is reached over a network.",
            )
        handle = cls(_name_in(url), namespace=context.namespace, clock=context.clock)
        context.report(_IN_MEMORY)
        return handle

    @property
    def store_id(self) -> str:
        """The identity of the store; another one in a forked child."""
        return self.store.store_id

    def enter(self) -> MemoryStore:
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


def _name_in(url: StemURL) -> str:
    has_more = url.username or url.password or url.path.strip("/") or len(url.hosts) > 1
    if has_more or (url.hosts and url.hosts[0].port is not None):
        raise InvalidURL(
            f"{url.redacted()} says more than memory can use",
            way_out="memory:// takes a name and nothing else, such as memory://orders.",
        )
    return url.hosts[0].name if url.hosts else "default"

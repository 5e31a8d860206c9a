"""What the broker and the backend of memory have in common: how a URL leads to their store."""

from __future__ import annotations

from typing import Any, Final, Self

from stem_core.contracts.clock import SYSTEM_CLOCK, Clock
from stem_core.contracts.hookspecs import PluginContext
from stem_core.embedded.handle import Handle
from stem_core.embedded.memory.store import MemoryStore
from stem_core.model.errors import ConfigError, InvalidURL
from stem_core.model.urls import StemURL

__all__ = ["MemoryHandle"]

_IN_MEMORY: Final = (
    "memory:// lives in this process only: another process cannot see it, and it ends with this one"
)


class MemoryHandle(Handle[MemoryStore]):
    """One user of a memory store. Equal names and namespaces share one store in this process."""

    def __init__(
        self,
        name: str = "default",
        *,
        namespace: str = "stem",
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._bind(MemoryStore.named(name, namespace, clock))

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


def _name_in(url: StemURL) -> str:
    has_more = url.username or url.password or url.path.strip("/") or len(url.hosts) > 1
    if has_more or (url.hosts and url.hosts[0].port is not None):
        raise InvalidURL(
            f"{url.redacted()} says more than memory can use",
            way_out="memory:// takes a name and nothing else, such as memory://orders.",
        )
    return url.hosts[0].name if url.hosts else "default"

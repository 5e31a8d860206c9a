"""What the broker and the result backend have in common: one handle, one event loop, one room."""

from __future__ import annotations

import asyncio
import os
from typing import Final, Self

from nats_broker.link import Link, Target, connect
from nats_broker.options import NatsOptions
from nats_broker.room import Room
from nats_broker.stream import ensure, target_of
from stem_core.plugin import (
    ConfigError,
    InvalidOption,
    InvalidURL,
    PluginContext,
    StemURL,
    StoreError,
    StoreMisconfigured,
    WrongLoop,
)

_LEAST_PAYLOAD: Final = 256 * 1024
_MOST_REPLICAS: Final = 5


class NatsHandle:
    """A handle to the stream of one namespace. It connects at its first verb."""

    def __init__(
        self, target: Target, context: PluginContext, store_id: str, max_payload: int
    ) -> None:
        self._target, self._context = target, context
        self._store_id, self._max_payload = store_id, max_payload
        self._owner: tuple[asyncio.AbstractEventLoop, int] | None = None
        self._opening: asyncio.Task[Room] | None = None
        self._is_closed = False

    @classmethod
    async def open(cls, url: StemURL, options: NatsOptions, context: PluginContext) -> Self:
        """Look whether the server is there and has the stream; create that if it has not.

        Raises:
            InvalidURL, ConfigError: the URL or the settings ask for what this cannot do.
            StoreUnavailable, StoreMisconfigured: the server is not there, or does not fit.
        """
        _check(url, options, context)
        target = target_of(url, options, context.namespace)
        link = Link(await connect(target, is_patient=False), target)
        try:
            store_id, room = await ensure(link), link.client.max_payload
        finally:
            await link.aclose()
        if room < _LEAST_PAYLOAD:
            raise StoreMisconfigured(
                f"{url}: the server takes messages of {room} bytes",
                way_out=f"Set its max_payload to {_LEAST_PAYLOAD} or more.",
            )
        return cls(target, context, store_id, room // 2)

    def sibling(self) -> Self:
        """Return a second handle to the same store, for another event loop or thread."""
        return type(self)(self._target, self._context, self._store_id, self._max_payload)

    @property
    def store_id(self) -> str:
        """The identity that the stream was created with."""
        return self._store_id

    async def room(self) -> Room:
        """Return the room, which the first call opens.

        Raises:
            WrongLoop: this is another event loop, or another process, than at the first call.
            StoreError: the store cannot be reached, or this handle is closed.
        """
        here = (asyncio.get_running_loop(), os.getpid())
        self._owner = self._owner or here
        if self._owner != here:
            raise WrongLoop(
                f"this {type(self).__name__} belongs to another event loop or process",
                way_out="Take a sibling() for each loop.",
            )
        if self._is_closed:
            raise StoreError(f"this {type(self).__name__} is closed")
        if self._opening is None or _has_failed(self._opening):
            context = self._context
            opening = Room.open(self._target, context.clock, context.dice)
            self._opening = asyncio.ensure_future(opening)
        # Whoever is cancelled must not take the room from those who wait for it too.
        return await asyncio.shield(self._opening)

    async def aclose(self) -> None:
        """Close the connection; leases are left to lapse."""
        self._is_closed = True
        opening, self._opening = self._opening, None
        if opening is None:
            return
        await asyncio.wait([opening])
        if not _has_failed(opening):
            await opening.result().aclose()


def _has_failed(opening: asyncio.Task[Room]) -> bool:
    return opening.done() and (opening.cancelled() or opening.exception() is not None)


def _check(url: StemURL, options: NatsOptions, context: PluginContext) -> None:
    if not url.hosts or url.path.strip("/") or url.variant:
        raise InvalidURL(f"{url} is not a server", way_out="Write nats://host:4222.")
    if context.tls.is_enabled:
        raise ConfigError("nats:// of this example speaks no TLS, so STEM_TLS_* cannot be kept")
    if not options.timeout:
        raise InvalidOption(f"{url}: timeout must be more than 0")
    if not 1 <= options.replicas <= _MOST_REPLICAS:
        raise InvalidOption(f"{url}: replicas is not one of 1 to {_MOST_REPLICAS}")

"""Which lane is whose: one for each event loop, none inherited across a fork.

Rule of this module: a lane is opened, used and closed in its own loop. What cannot be
closed there any more is dropped without I/O.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final
from weakref import WeakSet

from attrs import frozen

from stem_core.contracts.backend import ResultBackend
from stem_core.contracts.broker import Broker
from stem_core.contracts.hookspecs import PluginContext
from stem_core.discovery.host import PluginHost
from stem_core.model.errors import StemError, StoreError
from stem_core.model.urls import StemURL
from stem_core.producer.lane import Lane
from stem_core.producer.patience import Patience

__all__ = ["Lanes", "Opening"]

_log = logging.getLogger("stem.producer")


@frozen(kw_only=True)
class Opening:
    """What it takes to open a lane: objects that were given, or URLs to open."""

    plugins: PluginHost
    context: PluginContext
    broker: Broker | StemURL
    backend: ResultBackend | StemURL | None
    patience: Patience
    wrap: Callable[[Broker], Broker]

    @property
    def at(self) -> str:
        """The broker, for people: never with a secret."""
        if isinstance(self.broker, StemURL):
            return self.broker.redacted()
        return type(self.broker).__name__

    async def open(self, *, is_first: bool, until: float) -> Lane:
        """Open a lane in the loop that runs, whole or not at all, before *until*.

        Only the first may use objects as they were given.
        """
        broker = await self.patience.insist(self._broker, is_first, at=self.at, until=until)
        try:
            backend = await self.patience.insist(
                self._backend, is_first, at="the result backend", until=until
            )
        except BaseException:
            if broker is not self.broker:  # one that was given serves the next try
                with suppress(StoreError):
                    await broker.aclose()
            raise
        return Lane(self.wrap(broker), backend, at=self.at, patience=self.patience)

    async def _broker(self, is_first: bool) -> Broker:
        if isinstance(self.broker, StemURL):
            return await self.plugins.open_broker(self.broker, self.context)
        return self.broker if is_first else self.broker.sibling()

    async def _backend(self, is_first: bool) -> ResultBackend | None:
        if isinstance(self.backend, StemURL):
            return await self.plugins.open_backend(self.backend, self.context)
        if self.backend is None or is_first:
            return self.backend
        return self.backend.sibling()


class Lanes:
    """The lanes of one runtime. Loops and threads may share it.

    Attributes:
        opening: what it takes to open one.
    """

    def __init__(self, opening: Opening) -> None:
        self.opening: Final = opening
        self._lock = threading.Lock()
        self._lanes: dict[asyncio.AbstractEventLoop, Lane] = {}
        self._opened: dict[asyncio.AbstractEventLoop, asyncio.Future[Lane]] = {}
        self._is_first = True
        self._has_warned = False
        self._of_parent: list[object] = []
        self._cut_off_by: StemError | None = None
        _all.add(self)

    def here(self) -> Lane | None:
        """Return the lane of the loop that runs, if there is one already."""
        return self._lanes.get(asyncio.get_running_loop())

    async def open(self, until: float | None = None) -> Lane:
        """Return the lane of the loop that runs, opening it on first use, before *until*.

        Raises:
            PluginError, ConfigError: a URL cannot be opened.
            StoreError: a store cannot be reached.
        """
        loop = asyncio.get_running_loop()
        while (lane := self._lanes.get(loop)) is None:
            if self._cut_off_by is not None:
                raise self._cut_off_by
            opened = self._opened.get(loop)
            if opened is None:
                return await self._open_here(
                    loop, self.opening.patience.until() if until is None else until
                )
            # Somebody else opens it; if that fails it is our turn to try.
            await asyncio.wait([opened])
        return lane

    async def _open_here(self, loop: asyncio.AbstractEventLoop, until: float) -> Lane:
        opened = self._opened[loop] = loop.create_future()
        is_first = self._take_first()
        try:
            lane = await self.opening.open(is_first=is_first, until=until)
            self._drop_closed_loops()
            self._lanes[loop] = lane
            self._warn_once(lane)
            return lane
        except BaseException:
            if is_first:
                self._is_first = True
            raise
        finally:
            del self._opened[loop]
            opened.cancel()

    def cut_off(self, error: StemError) -> None:
        """Open none from now on, but raise *error*."""
        self._cut_off_by = error

    def _take_first(self) -> bool:
        with self._lock:
            is_first, self._is_first = self._is_first, False
            return is_first

    def _drop_closed_loops(self) -> None:
        for loop in [loop for loop in list(self._lanes) if loop.is_closed()]:
            self._lanes.pop(loop, None)

    def _warn_once(self, lane: Lane) -> None:
        if self._has_warned or lane.backend is None:
            return
        self._has_warned = True
        if lane.capabilities.multiprocess and not lane.backend.capabilities.multiprocess:
            _log.warning(
                "the result backend %s lives in this process alone: results of workers in other "
                "processes will not be seen here",
                type(lane.backend).__name__,
            )

    async def aclose(self) -> None:
        """Close the lanes of all loops that run; drop those of the others. Idempotent."""
        here = asyncio.get_running_loop()
        for loop, lane in self._taken():
            if loop is here:
                await lane.aclose()
            elif loop.is_running():
                closing = asyncio.run_coroutine_threadsafe(lane.aclose(), loop)
                await asyncio.wrap_future(closing)

    def _taken(self) -> Iterator[tuple[asyncio.AbstractEventLoop, Lane]]:
        while self._lanes:
            yield self._lanes.popitem()

    def abandon(self) -> None:
        """`aclose` without waiting: lanes of other loops close there, this loop's is dropped."""
        here = asyncio._get_running_loop()
        for loop, lane in self._taken():
            if loop is not here and loop.is_running():
                asyncio.run_coroutine_threadsafe(lane.aclose(), loop)

    def forget(self) -> None:
        """Drop everything without I/O: after a fork the connections belong to the parent."""
        # Kept alive all the same: a driver's destructor would talk on the parent's socket,
        # and an event loop's would take the parent's file descriptors out of its poll.
        self._of_parent.append((self._lanes, self._opened))
        self._lock = threading.Lock()
        self._lanes, self._opened = {}, {}
        self._is_first = False

    @property
    def loops(self) -> tuple[asyncio.AbstractEventLoop, ...]:
        """The loops that have a lane now."""
        return tuple(self._lanes)


_all: Final[WeakSet[Lanes]] = WeakSet()


def _after_fork() -> None:
    for lanes in list(_all):
        lanes.forget()


if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks
    os.register_at_fork(after_in_child=_after_fork)

"""Other stores for a Stem, for as long as a test runs.

Rule of this module: nothing is short-circuited. A test sends, seals, leases, verifies
and settles as production does; only where and when are its own.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
from importlib import import_module
from types import TracebackType
from typing import TYPE_CHECKING, Final, Protocol, Self, TypeVar, runtime_checkable

from attrs import evolve

from stem_core.model.codec import decode
from stem_core.model.duration import Duration
from stem_core.model.envelope import Envelope
from stem_core.model.errors import UsageError
from stem_core.model.urls import Host, StemURL
from stem_core.producer import blocking
from stem_core.producer.runtime import Runtime, Wiring
from stem_core.producer.watched import Accepted, watched

if TYPE_CHECKING:
    from stem_core.producer.client import Stem

__all__ = ["Override"]

GivenT = TypeVar("GivenT")

_log = logging.getLogger("stem.producer")

_numbers: Final = itertools.count(1)


@runtime_checkable
class _Turnable(Protocol):
    """A clock that a test can turn."""

    def advance(self, by: Duration, /) -> None: ...


class Override:
    """``with stem.override() as t``: a Stem on other stores, and what a test does with it."""

    def __init__(self, stem: Stem, wiring: Wiring) -> None:
        self._stem = stem
        self._accepted = Accepted()
        self._store_name = f"override-{os.getpid()}-{next(_numbers)}"
        self._wiring = evolve(
            wiring,
            broker=self._private(wiring.broker),
            backend=self._private(wiring.backend),
            wrap=lambda broker: watched(broker, self._accepted),
            report=_log.debug,  # that nobody else sees the store is what the test wants
        )
        self._before: Runtime | None = None

    # ── what a test does ──

    @property
    def enqueued(self) -> list[Envelope]:
        """The envelopes that the broker accepted since the beginning, in order, decoded."""
        bodies = [message.body for message in self._accepted.messages]
        return [decode(body, max_bytes=len(body)) for body in bodies]

    def drain(self) -> int:
        """Run what is ready until nothing is; return how many deliveries were settled.

        Raises:
            UseAwait: inside a running event loop; there it is `adrain`.
        """
        return blocking.run(self.adrain())

    async def adrain(self) -> int:
        """`drain` for asynchronous tests."""
        # By name: the worker imports the producer, so the producer cannot import the worker.
        # Only a test gets here, and a program that only produces never loads a worker.
        burst = import_module("stem_core.worker.burst").burst
        count: int = await burst(self._stem)
        return count

    def advance(self, by: Duration) -> None:
        """Let time pass, on the clock that the override was given.

        Raises:
            UsageError: it was given none that can be turned.
        """
        clock = self._wiring.clock
        if not isinstance(clock, _Turnable):
            raise UsageError(
                f"{type(clock).__name__} cannot be turned",
                way_out="Write stem.override(clock=FakeClock()).",
            )
        clock.advance(by)

    # ── its life ──

    def __enter__(self) -> Self:
        self._before = self._stem._swap(self._wiring)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        ended = self._stem._restore(self._before)
        if asyncio._get_running_loop() is not None:
            ended.lanes.abandon()
        elif ended.lanes.loops:
            blocking.run(ended.lanes.aclose())
        self._forget_store()

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        ended = self._stem._restore(self._before)
        await ended.lanes.aclose()
        self._forget_store()

    def _private(self, given: GivenT) -> GivenT | StemURL:
        """Return ``memory://`` without a name as a store of this override's own."""
        if not isinstance(given, StemURL) or given.scheme != "memory" or given.hosts:
            return given
        return evolve(given, hosts=(Host(self._store_name),))

    def _forget_store(self) -> None:
        # Here and not above: a program that only produces need not load a store.
        from stem_core.embedded.memory.store import MemoryStore

        MemoryStore.forget(self._store_name, self._stem.config.namespace)

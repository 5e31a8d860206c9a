"""The broker: each verb is one step of the folder."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self, TypeVar

import stem_core.plugin as stem

from stem_frozen_broker.folder import FileShelf, Folder
from stem_frozen_broker.ledger import Ledger
from stem_frozen_broker.options import FrozenBrokerOptions

A = TypeVar("A")
R = TypeVar("R")


class FrozenBrokerBroker(stem.Broker):
    """``frozen-broker:///folder``: for all processes of one machine that share the folder."""

    def __init__(
        self, path: Path, options: FrozenBrokerOptions, clock: stem.Clock, store_id: str = ""
    ) -> None:
        self._path, self._options, self._clock = path, options, clock
        self._folder = Folder(path)
        self._owner: tuple[asyncio.AbstractEventLoop, int] | None = None
        self._store_id = store_id or self._step(lambda shelf: shelf.counters.store_id)

    @classmethod
    async def open(
        cls, url: stem.StemURL, options: FrozenBrokerOptions, context: stem.PluginContext
    ) -> Self:
        """Open the folder that *url* names; it need not exist yet."""
        if url.hosts or not url.path.strip("/"):
            raise stem.InvalidURL(f"{url} names no folder", way_out="Write frozen-broker:///a/folder.")
        if context.tls.is_enabled:
            raise stem.ConfigError("frozen-broker:// has no connection that STEM_TLS_* could protect")
        if not options.poll or options.max_payload < 1:
            raise stem.InvalidOption(f"{url}: poll and max_payload must be more than 0")
        return cls(Path(url.path) / context.namespace, options, context.clock)

    def sibling(self) -> Self:
        """Return a second handle, for another event loop or thread."""
        return type(self)(self._path, self._options, self._clock, self._store_id)

    async def aclose(self) -> None:
        """Nothing is open between two steps."""

    @property
    def capabilities(self) -> stem.Capabilities:
        """Declare what the kit is to prove, and nothing else: Stem refuses the rest for you."""
        return stem.Capabilities(
            durability=stem.Durability.SYNCED,
            delay=stem.Support.NATIVE,
            priority=stem.Support.NATIVE,
            cancel=stem.Support.NATIVE,
            max_batch=200,
            max_batch_bytes=4 * self._options.max_payload,
            max_payload=self._options.max_payload,
        )

    @property
    def store_id(self) -> str:
        """The identity of the folder and its namespace."""
        return self._store_id

    # ── the verbs ────────────────────────────────────────────────────────────

    async def publish(self, messages: Sequence[stem.Message]) -> Sequence[stem.Published]:
        """Keep new messages."""
        size, most = sum(len(message.body) for message in messages), self.capabilities
        if len(messages) > most.max_batch:
            raise ValueError(f"{len(messages)} messages in one call, more than {most.max_batch}")
        if len(messages) > 1 and size > most.max_batch_bytes:
            raise ValueError(f"{size} bytes in one call, more than {most.max_batch_bytes}")
        return self._each(Ledger.publish, messages)

    async def fetch(
        self, queues: Sequence[str], *, limit: int, wait_ms: int, worker: str
    ) -> Sequence[stem.Delivery]:
        """Lease messages; wait up to *wait_ms* for the first."""
        until_ms = self._clock.monotonic_ms() + wait_ms
        while True:
            self._enter()
            taken = self._step(lambda shelf: self._ledger(shelf).fetch(queues, limit, worker))
            if taken or self._clock.monotonic_ms() >= until_ms:
                return taken  # no await in between: a cancelled fetch has taken nothing
            await asyncio.sleep(self._options.poll / 1000)

    async def extend(self, extensions: Sequence[stem.Extension]) -> Sequence[stem.Extended]:
        """Let leases end later."""
        return self._each(Ledger.extend, extensions)

    async def settle(self, settlements: Sequence[stem.Settlement]) -> Sequence[stem.Settled]:
        """End leases."""
        return self._each(Ledger.settle, settlements)

    async def cancel(self, cancellations: Sequence[stem.Cancellation]) -> Sequence[stem.Cancelled]:
        """End what waits; ask what runs to stop."""
        return self._each(Ledger.cancel, cancellations)

    async def lookup(self, ids: Sequence[str]) -> Sequence[stem.Located | None]:
        """Say where messages are."""
        return self._each(Ledger.lookup, ids)

    # ── pieces ───────────────────────────────────────────────────────────────

    def _enter(self) -> None:
        """Refuse a second event loop or process: your store will have a connection."""
        here = (asyncio.get_running_loop(), os.getpid())
        self._owner = self._owner or here
        if self._owner != here:
            raise stem.WrongLoop(
                "this FrozenBrokerBroker belongs to another event loop or process",
                way_out="Take a sibling() for each loop.",
            )

    def _each(self, verb: Callable[[Ledger, A], R], batch: Sequence[A]) -> list[R]:
        self._enter()
        if not batch:
            return []

        def all_of_them(shelf: FileShelf) -> list[R]:
            ledger = self._ledger(shelf)
            return [verb(ledger, each) for each in batch]

        return self._step(all_of_them)

    def _ledger(self, shelf: FileShelf) -> Ledger:
        # The time is read under the lock, so that it never runs backwards in the folder.
        return Ledger(shelf, self._clock.wall_ms(), self._options.max_payload)

    def _step(self, change: Callable[[FileShelf], R]) -> R:
        return self._folder.step(change)

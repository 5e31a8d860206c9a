"""What the broker and the backend of SQLite have in common: how a URL leads to their store."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any, Final, Self

from stem_core.contracts.hookspecs import PluginContext
from stem_core.embedded.handle import Handle
from stem_core.embedded.sqlite.location import Location, location_of, refuse_tls
from stem_core.embedded.sqlite.options import SqliteOptions
from stem_core.embedded.sqlite.store import SqliteStore
from stem_core.embedded.sqlite.taking import nothing
from stem_core.model.ids import check_name
from stem_core.model.structure import options_from_query
from stem_core.model.urls import StemURL

__all__ = ["SqliteHandle"]

_log = logging.getLogger("stem.sqlite")
_told: Final[set[str]] = set()


class SqliteHandle(Handle[SqliteStore]):
    """One user of a file. Handles of one file, namespace and durability share their threads."""

    def __init__(self, store: SqliteStore) -> None:
        self._bind(store)

    def _bind(self, store: SqliteStore) -> None:
        super()._bind(store)
        store.user_comes()

    @classmethod
    async def connect(cls, url: str | StemURL, *, namespace: str = "stem") -> Self:
        """Open *url*, such as ``sqlite:///tasks.db?durability=normal``."""
        parsed = url if isinstance(url, StemURL) else StemURL.parse(url)
        options = options_from_query(
            SqliteOptions, parsed.query, source="url", redacted_url=parsed.redacted(SqliteOptions)
        )
        return await cls.open(parsed, options, PluginContext(namespace=namespace))

    @classmethod
    async def open(cls, url: StemURL, options: Any, context: PluginContext) -> Self:
        """Open *url* for Stem.

        Raises:
            StoreMisconfigured: there is no such file and none can be made, or it is not ours.
            StoreError: it cannot be opened now.
        """
        refuse_tls(context.tls.is_enabled)
        location = location_of(url)
        durability = (options or SqliteOptions()).durability
        check_name(context.namespace, kind="namespace")
        store = SqliteStore.at(location, context.namespace, durability, context.clock)
        handle = cls(store)
        try:
            await store.write(nothing)
        except BaseException:
            await handle.aclose()
            raise
        _report(location, context)
        return handle

    async def aclose(self) -> None:
        """End the use of this handle; with the last one of a store its file is closed."""
        if self.is_closed:
            return
        is_ours = self._loop is None or self._generation == self.store.generation
        await super().aclose()
        if is_ours:
            threads = self.store.user_goes()
            if threads:
                await asyncio.to_thread(_join, threads)


def _join(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.join(5)


def _report(location: Location, context: PluginContext) -> None:
    if location.is_memory:
        context.report(location.note)
    elif location.note and location.note not in _told:
        # Worth one line in the log of a service, which opens its file as broker, as backend and
        # for each event loop, and no warning to a person.
        _told.add(location.note)
        _log.info("%s", location.note)

"""What the broker and the backend have in common: a handle to one namespace of a database."""

from __future__ import annotations

import asyncio
import os
from typing import Any, Final, Self

from attrs import field, frozen

from stem_core.plugin import (
    SYSTEM_CLOCK,
    Clock,
    PluginContext,
    StemURL,
    TlsConfig,
    UsageError,
    WrongLoop,
    check_name,
    options_from_query,
)
from stem_postgres.connection import Server
from stem_postgres.facts import Facts, facts_of
from stem_postgres.location import Location, location_of
from stem_postgres.options import PostgresOptions
from stem_postgres.schema import Schema, check_schema
from stem_postgres.statements import statements
from stem_postgres.wire import Parameters, Row

__all__ = ["PostgresHandle", "Store"]

_SWEEP_EVERY_MS: Final = 1_000
_PIECE: Final = 1_000


@frozen(kw_only=True)
class Store:
    """One namespace of one schema; what all its handles share. Holds no connection.

    Attributes:
        ns: the number of the namespace.
        channel: where its wakes are told.
        clock: for waits. One that is not the system's is for tests: it then stands for the
            server's clock too, which otherwise decides about every instant.
    """

    location: Location
    namespace: str
    facts: Facts
    ns: int
    channel: str
    clock: Clock = field(default=SYSTEM_CLOCK, repr=False)

    @property
    def store_id(self) -> str:
        """The server, the database, the schema and the namespace."""
        return f"postgres:{self.facts.identity}:{self.namespace}"

    def instant(self) -> int | None:
        """Return what statements take for now: nothing, for the server knows best."""
        return None if self.clock is SYSTEM_CLOCK else self.clock.wall_ms()

    @property
    def told(self) -> bool | None:
        """What statements that commit at once take for whom they tell: who waits, or nobody."""
        return False if self.location.options.notify else None

    @property
    def listens(self) -> bool:
        """Whether whoever waits is told."""
        return self.location.options.notify and not self.location.options.pooler

    def sql(self, name: str) -> bytes:
        """Return the statement *name*."""
        return statements(self.location.schema)[name]


class PostgresHandle:
    """One user of a store: belongs to the event loop that first awaits it.

    Attributes:
        store: which one.
        is_closed: True after `aclose`.
    """

    def __init__(self, store: Store) -> None:
        self.store: Final = store
        self.is_closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._process = -1
        self._server: Server | None = None
        self._sweep_at_ms = 0

    # ── opening ──────────────────────────────────────────────────────────────

    @classmethod
    async def connect(
        cls,
        url: str | StemURL,
        *,
        namespace: str = "stem",
        tls: TlsConfig | None = None,
    ) -> Self:
        """Open *url*, such as ``postgresql://localhost/shop``."""
        parsed = url if isinstance(url, StemURL) else StemURL.parse(url)
        shown = parsed.redacted(PostgresOptions)
        options = options_from_query(
            PostgresOptions, parsed.query, source="url", redacted_url=shown
        )
        context = PluginContext(namespace=namespace, tls=tls or TlsConfig())
        return await cls.open(parsed, options, context)

    @classmethod
    async def open(cls, url: StemURL, options: Any, context: PluginContext) -> Self:
        """Open *url* for Stem: reach the server, and refuse one where tasks are not safe.

        Raises:
            ConfigError: the URL, an option or the TLS settings make no sense.
            StoreMisconfigured: the server must be set up otherwise, or has no tables of this
                version.
            StoreUnavailable: it cannot be reached now.
        """
        location = location_of(url, options or PostgresOptions(), context.tls)
        check_name(context.namespace, kind="namespace")
        server = Server(location)
        try:
            store = await _reached(server, location, context)
        finally:
            await server.aclose()
        for sentence in store.facts.worth_saying(location.shown):
            context.report(sentence)
        return cls(store)

    # ── using ────────────────────────────────────────────────────────────────

    @property
    def store_id(self) -> str:
        """The identity of the store and namespace."""
        return self.store.store_id

    def enter(self) -> Server:
        """Return the server, for one verb in the running loop.

        Raises:
            WrongLoop: another loop or process awaited this handle first.
            UsageError: the handle is closed.
        """
        if (
            self._server is None
            or self._loop is not asyncio.get_running_loop()
            or self._process != os.getpid()
        ):
            return self._belong()
        return self._server

    def _belong(self) -> Server:
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
        self._loop = asyncio.get_running_loop()
        self._process = os.getpid()
        self._server = Server(self.store.location)
        return self._server

    async def run(self, name: str, parameters: Parameters, **how: bool) -> list[Row]:
        """Return the rows of the statement *name*; *how* as in `Server.run`."""
        return await self.enter().run(self.store.sql(name), parameters, **how)

    async def call(self, name: str, *arguments: Any, **how: bool) -> list[Row]:
        """Return the rows of the statement *name*, which takes namespace and now before all."""
        store = self.store
        return await self.run(name, (store.ns, store.instant(), *arguments), **how)

    @property
    def here(self) -> dict[str, Any]:
        """The namespace and now, for statements that take parameters by name."""
        return {"ns": self.store.ns, "now": self.store.instant()}

    async def sweep(self, *, late_ms: int = 0) -> None:
        """Clear away a piece of what is over, if it is time for that, or *late_ms* later."""
        now_ms = self.store.clock.monotonic_ms()
        if now_ms >= self._sweep_at_ms + late_ms:
            self._sweep_at_ms = now_ms + _SWEEP_EVERY_MS
            ((most,),) = await self.call("calls.sweep", _PIECE)
            if most >= _PIECE:
                self._sweep_at_ms = 0

    def sibling(self) -> Self:
        """Return a second handle to the same store, for another loop or thread."""
        return type(self)(self.store)

    async def aclose(self) -> None:
        """Free the connections. Idempotent, in any loop."""
        self.is_closed = True
        server, self._server, self._loop = self._server, None, None
        if server is not None and self._process == os.getpid():
            await server.aclose()


async def _reached(server: Server, location: Location, context: PluginContext) -> Store:
    sql = statements(location.schema)
    (row,) = await server.run(sql["meta.facts"], (location.schema, location.schema))
    facts = facts_of(row)
    facts.check(location.shown)
    if not location.options.pooler:
        facts.check_session(location.shown, location.options.timeout)
    found = Schema(*(await server.run(sql["meta.version"]))[0]) if facts.has_tables else None
    check_schema(found, location.shown, location.schema)
    ns, channel = await _namespace(server, context.namespace)
    return Store(
        location=location,
        namespace=context.namespace,
        facts=facts,
        ns=ns,
        channel=channel,
        clock=context.clock,
    )


async def _namespace(server: Server, name: str) -> tuple[int, str]:
    """Return the number and the channel of a namespace; the first who asks makes it."""
    sql = statements(server.location.schema)
    found = await server.run(sql["meta.namespace"], (name,))
    if not found:
        await server.run(sql["meta.add_namespace"], (name,))
        found = await server.run(sql["meta.namespace"], (name,))
    ((ns, channel),) = found
    return int(ns), str(channel)

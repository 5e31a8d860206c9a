"""What the broker and the backend have in common: a handle to one namespace of a server."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from typing import Any, ClassVar, Final, Self

from attrs import Factory, field, frozen

from stem_core.plugin import (
    SYSTEM_CLOCK,
    Clock,
    Fault,
    PluginContext,
    StemURL,
    StoreError,
    StoreMisconfigured,
    TlsConfig,
    UsageError,
    WrongLoop,
    check_name,
    options_from_query,
)
from stem_redis.connection import Server
from stem_redis.diagnosis import diagnosed
from stem_redis.errors import WrongType
from stem_redis.facts import Facts, facts_of
from stem_redis.line import NOT_SENT, Arg, Line, packed
from stem_redis.location import Location, database_beside, location_of
from stem_redis.options import RedisOptions
from stem_redis.replicas import unconfirmed
from stem_redis.scripts import script

__all__ = ["RedisHandle", "Store"]

_CALLS_TO_CLEAR: Final = 40
"""At most so many in a row: what is left then has time until the next look."""

_PROBE: Final = "redis.call('SELECT', ARGV[1]); redis.call('SELECT', ARGV[2]); return 1"


@frozen(kw_only=True)
class Store:
    """One namespace of one logical database; what all its handles share. Holds no connection.

    Attributes:
        results_db: where records are kept; the database itself, or another of the server.
        clock: for waits. One that is not the system's is for tests: it then stands for the
            server's clock too, which otherwise decides about every instant.
        prefix: what every key begins with. The braces keep a namespace in one slot of a cluster.
    """

    location: Location
    namespace: str
    facts: Facts
    results_db: int
    clock: Clock = field(default=SYSTEM_CLOCK, repr=False)
    prefix: str = field(
        init=False, repr=False, default=Factory(lambda self: f"{{{self.namespace}}}:", True)
    )

    @property
    def store_id(self) -> str:
        """The server, the namespace, and where records are kept."""
        return f"redis:{self.facts.run_id}:{self.namespace}:{self.results_db}"

    def instant(self) -> str:
        """Return what scripts take for now: nothing, for the server knows best."""
        return "" if self.clock is SYSTEM_CLOCK else str(self.clock.wall_ms())


class RedisHandle:
    """One user of a store: belongs to the event loop that first awaits it.

    Attributes:
        store: which one.
        is_closed: True after `aclose`.
    """

    keeps_messages: ClassVar[bool]

    def __init__(self, store: Store) -> None:
        self.store: Final = store
        self.is_closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._process = -1
        self._server: Server | None = None

    # ── opening ──────────────────────────────────────────────────────────────

    @classmethod
    async def connect(
        cls,
        url: str | StemURL,
        *,
        namespace: str = "stem",
        tls: TlsConfig | None = None,
    ) -> Self:
        """Open *url*, such as ``redis://localhost:6379/0``."""
        parsed = url if isinstance(url, StemURL) else StemURL.parse(url)
        options = options_from_query(
            RedisOptions, parsed.query, source="url", redacted_url=parsed.redacted(RedisOptions)
        )
        context = PluginContext(namespace=namespace, tls=tls or TlsConfig())
        return await cls.open(parsed, options, context)

    @classmethod
    async def open(cls, url: StemURL, options: Any, context: PluginContext) -> Self:
        """Open *url* for Stem: reach the server, and refuse one where tasks are not safe.

        Raises:
            ConfigError: the URL, an option or the TLS settings make no sense.
            StoreMisconfigured: the server must be set up otherwise.
            StoreUnavailable: it cannot be reached now.
        """
        location = location_of(url, options or RedisOptions(), context.tls)
        check_name(context.namespace, kind="namespace")
        server = Server(location)
        try:
            store = await _reached(server, location, context, cls.keeps_messages)
        finally:
            await server.aclose()
        _report(store, context)
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

    async def run(self, name: str, *args: Arg) -> Any:
        """Return what the script *name* returns, now."""
        return await self.ready(name, *args)()

    def ready(self, name: str, *args: Arg) -> Callable[[], Coroutine[Any, Any, Any]]:
        """Return `run`, packed already, for a caller who has to wait for its turn."""
        server, store = self.enter(), self.store
        lua = script(name, store.facts.reads_shebangs)
        words = (store.prefix, store.instant(), *args)
        command = packed(lua, words)

        async def run() -> Any:
            try:
                return await server.run(lua, words, command)
            except WrongType as error:
                raise await diagnosed(error, server, store.prefix, args, self.homes) from None

        return run

    async def command(self, *words: Arg) -> Any:
        """Return what one command of the server returns."""
        server = self.enter()
        try:
            return await server.command(*words)
        except WrongType as error:
            raise await diagnosed(error, server, self.store.prefix, (), self.homes) from None

    async def run_confirmed(self, name: str, *args: Arg) -> Any:
        """`run`, once as many replicas have what it wrote as the URL asks for.

        Raises:
            StoreUnavailable: they have not, in time; it is done at the server all the same.
        """
        server, store = self.enter(), self.store
        lua, options = script(name, store.facts.reads_shebangs), store.location.options
        try:
            reply, count = await server.run_confirmed(lua, store.prefix, store.instant(), *args)
        except WrongType as error:
            raise await diagnosed(error, server, store.prefix, args, self.homes) from None
        if count < options.wait_replicas:
            raise unconfirmed(store.location.shown, options, count)
        return reply

    def run_here(self, name: str, *args: Arg, is_idle: bool = False) -> Any:
        """`run` for a caller with nothing to do meanwhile, if the server is near: then it is
        waited for in place. `NOT_SENT` if it is not, and a `Line` if the reply is late.
        See `Server.run_here`."""
        store = self.store
        lua = script(name, store.facts.reads_shebangs)
        server = self.enter()
        return server.run_here(lua, (store.prefix, store.instant(), *args), is_idle=is_idle)

    async def run_alone(self, name: str, *args: Arg) -> Any:
        """`run` for a caller with nothing to do meanwhile, in place or not."""
        server = self.enter()
        try:
            reply = self.run_here(name, *args)
            if isinstance(reply, Line):
                return await server.rest_of(reply)
        except WrongType as error:
            raise await diagnosed(error, server, self.store.prefix, args, self.homes) from None
        except StoreError as error:
            if error.fault is not Fault.RELOAD:
                raise
            reply = NOT_SENT  # the script was not known, which was said late; nothing was done
        return await self.run(name, *args) if reply is NOT_SENT else reply

    async def clear_away(self) -> None:
        """Clear ids of records away that have expired, a call of some milliseconds at a time."""
        for _ in range(_CALLS_TO_CLEAR):
            if not await self.run("air", *self.homes, 1):
                break

    @property
    def homes(self) -> tuple[str, str]:
        """The logical databases of messages and of records, for scripts that touch both."""
        return str(self.store.location.db), str(self.store.results_db)

    def sibling(self) -> Self:
        """Return a second handle to the same store, for another loop or thread."""
        return type(self)(self.store)

    async def aclose(self) -> None:
        """Free the connections. Idempotent, in any loop."""
        self.is_closed = True
        server, self._server, self._loop = self._server, None, None
        if server is not None and self._process == os.getpid():
            await server.aclose()


async def _reached(
    server: Server, location: Location, context: PluginContext, keeps_messages: bool
) -> Store:
    facts = facts_of((await server.command("INFO")).decode(), await _appendfsync(server))
    facts.check(location.shown, allow_eviction=location.options.allow_eviction)
    if keeps_messages and location.options.wait_replicas:
        await server.command("WAIT", 0, 1)  # it returns at once, if this user may say it
    return Store(
        location=location,
        namespace=context.namespace,
        facts=facts,
        results_db=await _results_db(server, location, context) if keeps_messages else location.db,
        clock=context.clock,
    )


async def _results_db(server: Server, location: Location, context: PluginContext) -> int:
    """Return where a broker saves records in its own step: where the backend beside it looks."""
    wanted = location.options.results_db
    if wanted is not None:
        await _probe(server, location, wanted)
        return wanted
    beside = database_beside(location, context.results)
    if beside is None:
        return location.db
    try:
        await _probe(server, location, beside)
    except StoreMisconfigured:
        return location.db  # records are then saved by the backend, in a step of its own
    return beside


async def _appendfsync(server: Server) -> str:
    """Return how the server writes its log; empty when this user may not know."""
    try:
        pair = await server.command("CONFIG", "GET", "appendfsync")
    except StoreError:
        return ""
    return pair[1].decode() if len(pair) == 2 else ""


async def _probe(server: Server, location: Location, results_db: int) -> None:
    """See whether a script can reach the other logical database."""
    try:
        await server.command("EVAL", _PROBE, 0, results_db, location.db)
    except StoreMisconfigured:
        raise
    except StoreError as error:
        raise StoreMisconfigured(
            f"{location.shown}: results_db={results_db} cannot be reached: {error.message}",
            way_out="It must be a logical database of the same server.",
        ) from None


def _report(store: Store, context: PluginContext) -> None:
    for sentence in store.facts.worth_saying(store.location.shown):
        context.report(sentence)

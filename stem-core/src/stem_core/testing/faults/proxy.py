"""`FaultProxy`: a network that fails on request, in front of any server.

Rule of this module: switches and counts. What happens to bytes is `connection`.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from pathlib import Path as FilePath
from types import TracebackType
from typing import Any, Final, Literal, Self

from stem_core.contracts.clock import SYSTEM_CLOCK, Clock
from stem_core.model.errors import UsageError
from stem_core.testing.faults.conditions import Fate, Network, Trap
from stem_core.testing.faults.connection import Connection, Stream
from stem_core.testing.faults.splitting import CHUNKS, Dialect

__all__ = ["FaultProxy"]

_LOOPBACK: Final = "127.0.0.1"


class FaultProxy:
    """A TCP proxy whose network a test can spoil while it runs.

    Point a client at `address`. Every switch may be thrown from any thread and holds for all
    connections, those that are there and those that come; `restore` ends all of them.

    Attributes:
        connections: how many clients have connected so far.
        refused: how many of them were turned away: the network was cut, or no server was there.
    """

    def __init__(
        self,
        host: str = _LOOPBACK,
        port: int | None = None,
        *,
        path: str | FilePath | None = None,
        dialect: Dialect = CHUNKS,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """Stand in front of *host* and *port*, or of the Unix socket at *path*.

        *dialect* says what a request and a reply are, *clock* measures latencies.

        Raises:
            ValueError: both or neither of *port* and *path* is given.
        """
        if (port is None) == (path is None):
            raise ValueError(f"port={port!r}, path={path!r}: give one, of the server behind it")
        self._upstream = (host, port, path)
        self._dialect = dialect
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: asyncio.Server | None = None
        self._links: dict[asyncio.Task[Any], Connection | None] = {}
        self._is_cut = False
        self._network = Network(clock=clock)
        self.connections = self.refused = 0

    # ── its life ──

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._is_cut = False
        self._server = await asyncio.start_server(self._accept, _LOOPBACK, 0)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close every connection and stop listening. Idempotent."""
        if self._server is None:
            return
        self._server.close()
        self._is_cut = True  # for who has connected, and was not served yet
        for link in self._open_links():
            link.drop()
        tasks = list(self._links)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self._server.wait_closed()
        self._server = None

    @classmethod
    @contextlib.contextmanager
    def running(
        cls,
        host: str = _LOOPBACK,
        port: int | None = None,
        *,
        path: str | FilePath | None = None,
        dialect: Dialect = CHUNKS,
        clock: Clock = SYSTEM_CLOCK,
    ) -> Iterator[Self]:
        """Run a proxy in a thread of its own, for tests without a loop and for other processes.

        It is also the honest way to spoil the network of a program whose own loop may stand still.
        """
        proxy = cls(host, port, path=path, dialect=dialect, clock=clock)
        with _loop_in_a_thread() as run:
            run(proxy.__aenter__())
            try:
                yield proxy
            finally:
                run(proxy.aclose())

    @property
    def address(self) -> tuple[str, int]:
        """Host and port for clients."""
        if self._server is None:
            raise UsageError(
                "this FaultProxy does not run",
                way_out="Enter it: async with FaultProxy(…), or with FaultProxy.running(…).",
            )
        host, port = self._server.sockets[0].getsockname()
        return host, port

    @property
    def netloc(self) -> str:
        """``host:port``, to put into a URL."""
        return "{}:{}".format(*self.address)

    @property
    def requests(self) -> int:
        """How many requests were seen."""
        return self._network.requests

    @property
    def sprung(self) -> int:
        """How many of the requests asked for by `drop_reply` and `inject` have come."""
        return self._network.traps.sprung

    # ── the switches ──

    def cut(self) -> None:
        """Reset every connection now, and each new one as soon as it is made."""

        def change() -> None:
            self._is_cut = True
            for link in self._open_links():
                link.cut()

        self._switch(change)

    def black_hole(self, *, up: bool = True, down: bool = True) -> None:
        """Take what is sent to the server (*up*) and to the client (*down*), and lose it.

        Nobody is told. A connection that has lost bytes is reset by `restore`: what came
        after them would make no sense.
        """
        self._change(up={"is_black": up}, down={"is_black": down})

    def latency(self, *, up_ms: int = 0, down_ms: int = 0) -> None:
        """Let each chunk arrive later, on the way to the server and back."""
        self._change(up={"latency_ms": up_ms}, down={"latency_ms": down_ms})

    def slice(self, size: int, *, pause_ms: int = 1) -> None:
        """Write at most *size* bytes at once, both ways, with a pause between; 0 ends it."""
        both = {"size": size, "pause_ms": pause_ms}
        self._change(up=both, down=both)

    def bandwidth(self, bytes_per_s: int) -> None:
        """Carry no more than this, each way and for each connection; 0 ends it."""
        both = {"bytes_per_s": bytes_per_s}
        self._change(up=both, down=both)

    def drop_reply(
        self, of: int = 1, *, matching: bytes = b"", then: Literal["cut", "swallow"] = "cut"
    ) -> None:
        """Let the *of*-th request from now on be executed, and its reply be lost.

        The server has replied by then; the client sees a reset (*then* ``cut``), or hears
        nothing more on this connection (``swallow``). With *matching*, only requests that
        hold these bytes are counted. Over all connections, in the order in which they come.
        """
        fates = {"cut": Fate.CUT, "swallow": Fate.SWALLOW}
        if then not in fates:
            raise ValueError(f"then={then!r}: it is 'cut' or 'swallow'")
        self._set(Trap(fate=fates[then], missing=of, matching=matching))

    def inject(
        self, reply: bytes, of: int = 1, *, matching: bytes = b"", executed: bool = False
    ) -> None:
        """Answer the *of*-th request from now on with *reply*, in its turn.

        The server never sees the request; with *executed* it does, and its own reply is lost.
        """
        fate = Fate.REPLACE if executed else Fate.REFUSE
        self._set(Trap(fate=fate, missing=of, matching=matching, reply=reply))

    def restore(self) -> None:
        """End every fault, and reset the connections that have lost bytes."""

        def change() -> None:
            self._is_cut = False
            self._network.clear()
            for link in self._open_links():
                if link.has_hole:
                    link.cut()

        self._switch(change)

    def _change(self, *, up: Mapping[str, Any], down: Mapping[str, Any]) -> None:
        self._switch(lambda: self._network.change(up, down))

    def _set(self, trap: Trap) -> None:
        if trap.missing < 1:
            raise ValueError(f"of={trap.missing}: requests are counted from 1, the next one")
        self._switch(lambda: self._network.traps.add(trap))

    def _switch(self, change: Callable[[], None]) -> None:
        """Run *change* in the loop of the proxy, and return when it is done."""
        loop = self._loop
        if loop is None or self._server is None or loop is _running_loop():
            change()
        else:
            asyncio.run_coroutine_threadsafe(_called(change), loop).result()

    # ── connections ──

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A task of our own: one of asyncio's complains when it is cancelled (3.11).
        self.connections += 1
        client = Stream(reader, writer)
        task = asyncio.get_running_loop().create_task(self._serve(client))
        self._links[task] = None

        def ended(task: asyncio.Task[None]) -> None:
            del self._links[task]
            client.drop()  # it may have been cancelled before its first step

        task.add_done_callback(ended)

    async def _serve(self, client: Stream) -> None:
        link = await self._linked(client)
        if link is not None:
            self._links[_this_task()] = link
            await link.run()

    async def _linked(self, client: Stream) -> Connection | None:
        """Return the connection of *client* to the server, None if it was turned away."""
        try:
            server = await self._dial()
        except OSError:
            self.refused += 1
            client.reset()
            return None
        link = Connection(client, server, self._network, self._dialect)
        if self._is_cut:  # meanwhile
            link.cut()
        return link

    async def _dial(self) -> Stream | None:
        if self._is_cut:
            raise ConnectionRefusedError("the network is cut")
        if self._network.up.is_black:
            return None
        host, port, path = self._upstream
        if path is not None:
            return Stream(*await asyncio.open_unix_connection(path))
        return Stream(*await asyncio.open_connection(host, port))

    def _open_links(self) -> list[Connection]:
        return [link for link in self._links.values() if link is not None]


def _this_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


async def _called(change: Callable[[], None]) -> None:
    change()


@contextlib.contextmanager
def _loop_in_a_thread() -> Iterator[Callable[[Coroutine[Any, Any, Any]], Any]]:
    """Yield what runs a coroutine in the loop of another thread and waits for it."""
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        thread = threading.Thread(target=loop.run_forever, name="stem-fault-proxy", daemon=True)
        thread.start()
        try:
            yield lambda call: asyncio.run_coroutine_threadsafe(call, loop).result()
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()

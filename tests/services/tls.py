"""TLS for servers that were built without it: a front that speaks it and passes on the rest.

The servers that pip brings have no TLS, and no test should depend on which server is here: so
all of them get theirs from this front, and clients cannot tell. What it cannot show is a
server's own handling of certificates, as users named by them, or channel binding.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
import warnings
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from pathlib import Path

from attrs import frozen

__all__ = ["Front", "Identity"]

_CHUNK = 65_536
_FAREWELL_S = 1.0
_HANDSHAKE = b"\x16"

Greeting = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@frozen
class Identity:
    """Who a server says it is, and whom it listens to.

    Attributes:
        certificate: the PEM file of its certificate.
        key: the PEM file of its key.
        client_ca: the PEM file of the authority whose certificate each client must show;
            None asks for none.
        newest: it speaks no newer TLS than this.
    """

    certificate: Path
    key: Path
    client_ca: Path | None = None
    newest: ssl.TLSVersion = ssl.TLSVersion.MAXIMUM_SUPPORTED

    def context(self) -> ssl.SSLContext:
        """Return the settings of the server's side."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.certificate, self.key)
        if self.client_ca:
            context.load_verify_locations(self.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        if self.newest is not ssl.TLSVersion.MAXIMUM_SUPPORTED:
            _hold_back(context, self.newest)
        return context


def _hold_back(context: ssl.SSLContext, newest: ssl.TLSVersion) -> None:
    """Let it speak what is out of use, which Python warns of."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        context.maximum_version = newest
    context.set_ciphers("ALL:@SECLEVEL=0")


class Front:
    """A port on 127.0.0.1 that speaks TLS, before the server at the Unix socket *behind*.

    Where a protocol begins in the clear, *greeting* talks until the handshake is due. With
    *also_plain* whoever does not begin with a handshake is passed on as he is: a sentinel that
    was built without TLS can watch a master whose clients use it. A server that is away looks
    like one that closes each connection.

    Attributes:
        port: where it listens.
    """

    def __init__(
        self,
        behind: Path,
        identity: Identity,
        greeting: Greeting | None = None,
        *,
        also_plain: bool = False,
    ) -> None:
        self._behind = behind
        self._context = identity.context()
        self._greeting = greeting
        self._also_plain = also_plain
        self._loop = asyncio.new_event_loop()
        self._over = asyncio.Event()
        self._secret: asyncio.Server | None = None
        listening: Future[int] = Future()
        self._thread = threading.Thread(target=self._run, args=[listening], daemon=True)
        self._thread.start()
        self.port = listening.result()

    def close(self) -> None:
        """Close the port and every connection."""
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()

    def _run(self, listening: Future[int]) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve(listening))

    async def _serve(self, listening: Future[int]) -> None:
        at_once = None if self._greeting else self._context
        begin = (
            self._sniffing()
            if self._also_plain
            else asyncio.start_server(self._answer, "127.0.0.1", 0, ssl=at_once)
        )
        try:
            server = await begin
        except OSError as error:
            listening.set_exception(error)
            return
        listening.set_result(server.sockets[0].getsockname()[1])
        await self._over.wait()
        server.close()
        if self._secret is not None:
            self._secret.close()

    async def _sniffing(self) -> asyncio.Server:
        """Listen in the clear, and pass a handshake on to a port that speaks TLS."""
        secret = await asyncio.start_server(self._answer, "127.0.0.1", 0, ssl=self._context)
        self._secret, there = secret, secret.sockets[0].getsockname()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError, EOFError):
                try:
                    first = await reader.readexactly(1)
                    if first == _HANDSHAKE:
                        back, forth = await asyncio.open_connection(*there)
                    else:
                        back, forth = await asyncio.open_unix_connection(self._behind)
                    forth.write(first)
                    await _joined(reader, writer, back, forth)
                finally:
                    await _closed(writer)

        return await asyncio.start_server(answer, "127.0.0.1", 0)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, EOFError):
            try:
                if self._greeting:
                    await self._greeting(reader, writer)
                    await writer.start_tls(self._context)
                await self._connect(reader, writer)
            finally:
                await _closed(writer)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry bytes both ways until one side has ended."""
        await _joined(reader, writer, *await asyncio.open_unix_connection(self._behind))


async def _joined(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    back: asyncio.StreamReader,
    forth: asyncio.StreamWriter,
) -> None:
    ways = {
        asyncio.create_task(_carry(reader, forth)),
        asyncio.create_task(_carry(back, writer)),
    }
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        await _closed(forth)


async def _carry(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while chunk := await source.read(_CHUNK):
            target.write(chunk)
            await target.drain()


async def _closed(writer: asyncio.StreamWriter) -> None:
    """Close the connection once what was written has gone out, or nobody takes it."""
    writer.close()
    try:
        with contextlib.suppress(OSError, TimeoutError):
            await asyncio.wait_for(writer.wait_closed(), _FAREWELL_S)
    finally:
        writer.transport.abort()

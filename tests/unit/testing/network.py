"""Real servers, one that echoes and one that counts, and a client that says how it ended."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

from stem_core.contracts.clock import SYSTEM_CLOCK, Clock
from stem_core.testing.faults import CHUNKS, Dialect, FaultProxy

PING = b"*1\r\n$4\r\nPING\r\n"


class EchoServer:
    """Answers each chunk with itself, and remembers what it was asked."""

    def __init__(self) -> None:
        self.got = b""
        self.clients = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.clients += 1
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                self.got += data
                writer.write(self.answer(data))
                await writer.drain()
        self.clients -= 1
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    def answer(self, data: bytes) -> bytes:
        return data


class NumberServer(EchoServer):
    """Answers each PING with its number, as Redis would."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def answer(self, data: bytes) -> bytes:
        numbers = range(self.count + 1, self.count + data.count(b"PING") + 1)
        self.count += len(numbers)
        return b"".join(b":%d\r\n" % number for number in numbers)


@contextlib.asynccontextmanager
async def proxied(
    server: EchoServer, *, dialect: Dialect = CHUNKS, clock: Clock | None = None
) -> AsyncIterator[FaultProxy]:
    listening = await asyncio.start_server(server, "127.0.0.1", 0)
    host, port = listening.sockets[0].getsockname()
    try:
        async with FaultProxy(host, port, dialect=dialect, clock=clock or SYSTEM_CLOCK) as proxy:
            yield proxy
    finally:
        listening.close()
        await until(lambda: server.clients == 0)


class Client:
    """One connection to a proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def ask(self, data: bytes) -> bytes:
        self.writer.write(data)
        return await self.reader.readexactly(len(data))

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def hears(self) -> bytes:
        return await asyncio.wait_for(self.reader.read(65536), 10)

    async def is_reset(self) -> bool:
        """True when the connection is reset, False when it ends in order or goes on."""
        try:
            await self.hears()
        except ConnectionError:
            return True
        return False


@contextlib.asynccontextmanager
async def connected(proxy: FaultProxy) -> AsyncIterator[Client]:
    client = Client(*await asyncio.open_connection(*proxy.address))
    try:
        yield client
    finally:
        client.writer.close()
        with contextlib.suppress(ConnectionError):
            await client.writer.wait_closed()


async def until(is_so: Callable[[], bool]) -> None:
    """Return once *is_so*; what another task does can only be looked at again."""
    async with asyncio.timeout(10):
        while not is_so():
            await asyncio.sleep(0.001)


def run(trial: Callable[[], Awaitable[None]]) -> None:
    """Run *trial*; fail with it, and for whatever its loop was left to complain of."""
    troubles: list[object] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, told: troubles.append(told))
        async with asyncio.timeout(30):
            await trial()

    asyncio.run(main())
    assert not troubles


def echo_in_a_thread(listening: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            client, _ = listening.accept()
            with client, contextlib.suppress(OSError):
                while data := client.recv(65536):
                    client.sendall(data)

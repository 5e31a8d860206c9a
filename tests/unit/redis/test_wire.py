"""One connection: replies in their order, deadlines, and what a cancelled reader leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import wraps
from typing import Any

import pytest
from redis.exceptions import InvalidResponse, ResponseError

from stem_redis.wire import Wire

LONG_S = 30.0
Server = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def in_loop(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run a test in an event loop of its own."""

    @wraps(test)
    def run() -> None:
        asyncio.run(asyncio.wait_for(test(), LONG_S))

    return run


@asynccontextmanager
async def connected(play: Server) -> AsyncIterator[Wire]:
    """Give a wire to a server that plays this for the block."""
    over = asyncio.Event()

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await play(reader, writer)
        await over.wait()
        writer.transport.abort()

    async with await asyncio.start_server(served, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        _, writer = await asyncio.open_connection(host, port)
        wire = Wire(writer)
        try:
            yield wire
        finally:
            over.set()
            wire.abort()


def answering(*replies: bytes) -> Server:
    """Play a server that answers each line with the next of *replies*."""

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for reply in replies:
            await reader.readline()
            writer.write(reply)

    return play


@in_loop
async def test_a_call_returns_its_reply() -> None:
    async with connected(answering(b"+one\r\n", b":2\r\n")) as wire:
        assert await wire.ask(b"a\r\n", LONG_S) == b"one"
        assert await wire.ask(b"b\r\n", LONG_S) == 2


@in_loop
async def test_an_error_of_the_server_is_raised_and_leaves_the_connection_alive() -> None:
    async with connected(answering(b"-WRONGTYPE of key\r\n", b"+ok\r\n")) as wire:
        with pytest.raises(ResponseError, match="WRONGTYPE of key"):
            await wire.ask(b"a\r\n", LONG_S)
        assert wire.is_alive
        assert await wire.ask(b"b\r\n", LONG_S) == b"ok"


@in_loop
async def test_a_call_without_a_reply_ends_at_its_own_deadline() -> None:
    """The alarm that the call before it set is for much later."""
    async with connected(answering(b"+ok\r\n", b"")) as wire:
        await wire.ask(b"a\r\n", LONG_S)
        with pytest.raises(TimeoutError):
            await wire.ask(b"b\r\n", 0.01)


@in_loop
async def test_an_alarm_of_a_call_that_is_over_does_not_end_the_next_one() -> None:
    go_on = asyncio.Event()

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        await go_on.wait()
        writer.write(b"+late\r\n")

    async with connected(play) as wire:
        asking = asyncio.ensure_future(wire.ask(b"a\r\n", LONG_S))
        await asyncio.sleep(0)
        wire._set_alarm(asyncio.get_running_loop().time())
        rings = wire._alarm
        while wire._alarm is rings:
            await asyncio.sleep(0)
        go_on.set()
        assert await asking == b"late"


@in_loop
async def test_whoever_waits_is_told_when_the_server_hangs_up() -> None:
    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.close()

    async with connected(play) as wire:
        with pytest.raises((EOFError, OSError)):
            await wire.ask(b"a\r\n", LONG_S)
        assert not wire.is_alive
        with pytest.raises(EOFError):
            wire.send(b"b\r\n")


@in_loop
async def test_a_cancelled_read_loses_no_reply() -> None:
    async with connected(answering(b"+one\r\n", b"+two\r\n")) as wire:
        reading = asyncio.ensure_future(wire.read())
        await asyncio.sleep(0)
        wire.send(b"a\r\n")
        waiter = wire._waiter
        assert waiter is not None
        while not waiter.done():
            await asyncio.sleep(0)
            if waiter.done():
                reading.cancel()  # its reply is there, and it has not run yet
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert await wire.read() == b"one"


@in_loop
async def test_a_reply_to_nothing_that_was_asked_is_refused() -> None:
    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"+one\r\n+two\r\n")

    async with connected(play) as wire:
        await wire.ask(b"a\r\n", LONG_S)
        with pytest.raises(InvalidResponse):
            await wire.ask(b"b\r\n", LONG_S)


@in_loop
async def test_what_is_not_the_protocol_ends_the_connection() -> None:
    async with connected(answering(b"HTTP/1.1 400 Bad Request\r\n")) as wire:
        with pytest.raises(InvalidResponse):
            await wire.ask(b"a\r\n", LONG_S)
        assert not wire.is_alive


@in_loop
async def test_a_reply_of_many_pieces_is_put_together() -> None:
    body = b"x" * 300_000
    async with connected(answering(b"$%d\r\n%b\r\n" % (len(body), body))) as wire:
        assert await wire.ask(b"a\r\n", LONG_S) == body

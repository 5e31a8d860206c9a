"""A server that is near is asked in place, and nothing is lost where that goes wrong."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, suppress

import pytest
from redis.exceptions import ResponseError
from unit.redis.test_wire import LONG_S, in_loop

from stem_core.plugin import Nearness
from stem_redis import nearby
from stem_redis.nearby import NEAR_FOR_IDLE_S, NEAR_S, Shortcut
from stem_redis.wire import NOT_SENT, OWED, Wire

Answer = Callable[[bytes], bytes]


@contextmanager
def answering(answer: Answer) -> Iterator[tuple[str, int]]:
    """Serve one connection from a thread, for the loop may be waiting for it."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):  # whoever asked may be gone, or never have come
            converse(*listener.accept())

    def converse(connection: socket.socket, _: object) -> None:
        with closing(connection):
            while asked := connection.recv(65_536):
                connection.sendall(answer(asked))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    with closing(listener):
        yield listener.getsockname()


@asynccontextmanager
async def connected(
    answer: Answer, *, is_near: bool = True, patience_s: float = LONG_S
) -> AsyncIterator[Wire]:
    with answering(answer) as (host, port):
        _, writer = await asyncio.open_connection(host, port)
        wire = Wire(writer)
        wire._nearness = Nearness(LONG_S, LONG_S)  # a thread that is held up is near all the same
        wire._nearness.is_near = is_near
        wire._shortcut.patience_ms = round(1_000 * patience_s)  # type: ignore[union-attr]
        try:
            yield wire
        finally:
            wire.abort()


def test_nothing_is_known_of_a_server_before_its_first_reply() -> None:
    nearness = Nearness(NEAR_S, NEAR_FOR_IDLE_S)
    assert not nearness.is_near
    nearness.answered_in(0.000_1)
    assert nearness.is_near
    nearness.answered_in(0.1)
    assert not nearness.is_near


def test_a_server_may_be_less_near_for_a_loop_that_has_nothing_else_to_do() -> None:
    nearness = Nearness(NEAR_S, NEAR_FOR_IDLE_S)
    nearness.answered_in(0.000_6)
    assert nearness.is_near_for_idle
    assert not nearness.is_near
    nearness.answered_in(0.001)  # longer than one waits in place
    assert not nearness.is_near_for_idle


def test_after_a_late_reply_a_hundred_calls_go_through_the_loop() -> None:
    nearness = Nearness(NEAR_S, NEAR_FOR_IDLE_S)
    nearness.answered_in(0.000_1)
    nearness.was_late()
    for _ in range(100):
        assert not nearness.is_near
        assert not nearness.is_near_for_idle
        nearness.answered_in(0.000_1)
    nearness.answered_in(0.000_1)
    assert nearness.is_near


@in_loop
async def test_a_far_server_is_asked_nothing_in_place() -> None:
    async with connected(lambda asked: b"+ok\r\n", is_near=False) as wire:
        assert wire.ask_here(b"a") is NOT_SENT
        assert await wire.ask(b"a", LONG_S) == b"ok"


@in_loop
async def test_a_server_that_is_near_for_idle_loops_is_asked_in_place_only_by_them() -> None:
    async with connected(lambda asked: b"+ok\r\n", is_near=False) as wire:
        wire._nearness.is_near_for_idle = True
        assert wire.ask_here(b"a") is NOT_SENT
        assert wire.ask_here(b"a", is_idle=True) == b"ok"


@in_loop
async def test_a_near_server_answers_without_a_turn_of_the_loop() -> None:
    async with connected(lambda asked: b"+%b\r\n" % asked) as wire:
        asyncio.get_running_loop().call_soon(pytest.fail, "the loop had a turn")
        assert wire.ask_here(b"one") == b"one"
        assert wire.ask_here(b"two") == b"two"
        asyncio.get_running_loop()._ready.clear()  # type: ignore[attr-defined]


@in_loop
async def test_its_error_is_raised_and_the_connection_goes_on() -> None:
    async with connected(lambda asked: b"-NOPE\r\n" if asked == b"a" else b"+ok\r\n") as wire:
        with pytest.raises(ResponseError, match="NOPE"):
            wire.ask_here(b"a")
        assert wire.ask_here(b"b") == b"ok"


@in_loop
async def test_a_late_reply_is_owed_and_comes_through_the_loop() -> None:
    go_on = threading.Event()

    def late(asked: bytes) -> bytes:
        go_on.wait(LONG_S)
        return b"+late\r\n"

    async with connected(late, patience_s=0.001) as wire:
        assert wire.ask_here(b"a") is OWED
        go_on.set()
        assert await wire.rest(LONG_S) == b"late"
        assert wire.ask_here(b"b") is NOT_SENT


@in_loop
async def test_a_reply_that_comes_in_pieces_is_owed_until_it_is_whole() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    go_on = threading.Event()

    def serve() -> None:
        connection, _ = listener.accept()
        with closing(connection), suppress(OSError):  # whoever asked may be gone
            connection.recv(100)
            connection.sendall(b"$6\r\nabc")
            go_on.wait(LONG_S)
            connection.sendall(b"def\r\n")
            connection.recv(100)

    threading.Thread(target=serve, daemon=True).start()
    with closing(listener):
        _, writer = await asyncio.open_connection(*listener.getsockname())
        wire = Wire(writer)
        wire._nearness.is_near = True
        assert wire.ask_here(b"a") is OWED
        go_on.set()
        assert await wire.rest(LONG_S) == b"abcdef"
        wire.abort()


@in_loop
async def test_a_server_that_hangs_up_meanwhile_is_noticed_by_the_one_who_waits() -> None:
    def hang_up(asked: bytes) -> bytes:
        raise OSError  # ends the connection

    async with connected(hang_up) as wire:
        assert wire.ask_here(b"a") is OWED
        with pytest.raises((EOFError, OSError)):
            await wire.rest(LONG_S)
        assert not wire.is_alive
        assert wire.ask_here(b"b") is NOT_SENT


@in_loop
async def test_what_the_socket_does_not_take_is_sent_by_the_transport() -> None:
    """A command larger than all buffers between the two."""
    sizes: list[int] = []
    large = b"x" * 50_000_000

    def count(asked: bytes) -> bytes:
        sizes.append(len(asked))
        return b"+all\r\n" if sum(sizes) == len(large) else b""

    async with connected(count) as wire:
        reply = wire.ask_here(large)
        assert reply is OWED
        assert await wire.rest(LONG_S) == b"all"


@in_loop
async def test_there_is_no_way_past_a_transport_that_encrypts() -> None:
    async with connected(lambda asked: b"+ok\r\n") as wire:
        assert isinstance(wire._shortcut, Shortcut)
        wire._shortcut = None  # as over TLS, where bytes are not what is on the socket
        assert wire.ask_here(b"a") is NOT_SENT


@in_loop
async def test_a_reply_that_is_there_is_seen_without_falling_asleep() -> None:
    ours, theirs = socket.socketpair()
    with closing(ours), closing(theirs), pytest.MonkeyPatch.context() as patch:
        patch.setattr(nearby, "_AWAKE_S", LONG_S)
        ours.setblocking(False)
        _, writer = await asyncio.open_connection(sock=ours)
        shortcut = Shortcut(writer.transport, ours.fileno())
        shortcut.patience_ms = 0  # who fell asleep would see nothing
        theirs.sendall(b"+ok\r\n")
        buffer = bytearray(64)
        assert shortcut.exchange(b"a", buffer) == 5
        assert not shortcut._asleep
        writer.transport.abort()


@in_loop
async def test_after_a_look_in_vain_the_next_hundred_calls_fall_asleep_at_once() -> None:
    go_on = threading.Event()

    def answer(asked: bytes) -> bytes:
        assert go_on.wait(LONG_S)
        return b"+ok\r\n"

    async with connected(answer) as wire:
        shortcut = wire._shortcut
        assert isinstance(shortcut, Shortcut)
        shortcut.patience_ms = 0
        assert wire.ask_here(b"a") is OWED
        assert shortcut._asleep == 100
        go_on.set()
        assert await wire.rest(LONG_S) == b"ok"
        shortcut.patience_ms = round(1_000 * LONG_S)
        for left in range(99, -1, -1):
            wire._nearness.is_near = True
            assert wire.ask_here(b"a") == b"ok"
            assert shortcut._asleep == left


@in_loop
async def test_where_the_processor_cannot_be_yielded_one_falls_asleep_at_once() -> None:
    async with connected(lambda asked: b"+ok\r\n") as wire:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(nearby, "_yield_processor", None)
            assert wire.ask_here(b"a") == b"ok"

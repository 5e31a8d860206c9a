"""A network that fails on request, before real servers: one echoes, one counts."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading

import pytest
from unit.testing.network import (
    PING,
    Client,
    EchoServer,
    NumberServer,
    connected,
    echo_in_a_thread,
    proxied,
    run,
    until,
)

from stem_core.model.errors import UsageError
from stem_core.testing.clock import FakeClock
from stem_core.testing.faults import RESP, FaultProxy

LOADING = b"-LOADING the dataset is in memory soon\r\n"


def _is_in_the_hole(proxy: FaultProxy, connections: int) -> bool:
    links = proxy._open_links()
    return len(links) == connections and all(each.has_hole for each in links)


def test_without_a_fault_everything_passes_both_ways():
    async def trial():
        server = EchoServer()
        async with proxied(server) as proxy, connected(proxy) as client:
            data = bytes(range(256)) * 4096
            assert await client.ask(data) == data
            assert server.got == data
            assert (proxy.connections, proxy.refused) == (1, 0)
            client.writer.write_eof()
            assert await client.hears() == b""

    run(trial)


def test_a_cut_resets_who_is_there_and_who_comes_until_it_is_restored():
    async def trial():
        async with proxied(EchoServer()) as proxy, connected(proxy) as client:
            await client.ask(b"hello")
            proxy.cut()
            assert await client.is_reset()
            async with connected(proxy) as late:
                assert await late.is_reset()
            assert (proxy.connections, proxy.refused) == (2, 1)
            proxy.restore()
            async with connected(proxy) as new:
                assert await new.ask(b"again") == b"again"

    run(trial)


def test_a_black_hole_takes_everything_and_gives_nothing():
    async def trial():
        server = EchoServer()
        async with proxied(server) as proxy, connected(proxy) as client:
            await client.ask(b"before")
            proxy.black_hole()
            await client.send(b"into the hole")
            async with connected(proxy) as late:
                await late.send(b"this, too")
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(client.reader.read(1), 0.05)
                await until(lambda: _is_in_the_hole(proxy, 2))
                assert server.got == b"before"
                proxy.restore()
                assert await client.is_reset()
                assert await late.is_reset()

    run(trial)


def test_a_black_hole_of_one_way_lets_the_other_one_pass():
    async def trial():
        server = EchoServer()
        async with proxied(server) as proxy, connected(proxy) as client:
            await client.ask(b"before")
            proxy.black_hole(up=False, down=True)
            await client.send(b"executed")
            await until(lambda: server.got == b"beforeexecuted")
            proxy.restore()

    run(trial)


def test_a_connection_that_lost_nothing_outlives_a_black_hole():
    async def trial():
        async with proxied(EchoServer()) as proxy, connected(proxy) as client:
            await client.ask(b"before")
            proxy.black_hole()
            proxy.restore()
            assert await client.ask(b"after") == b"after"

    run(trial)


@pytest.mark.parametrize(("up_ms", "down_ms"), [(200, 0), (0, 200)])
def test_latency_holds_a_chunk_back_for_its_time(up_ms: int, down_ms: int):
    async def trial():
        clock, server = FakeClock(), EchoServer()
        async with proxied(server, clock=clock) as proxy, connected(proxy) as client:
            proxy.latency(up_ms=up_ms, down_ms=down_ms)
            asked = asyncio.create_task(client.ask(b"hello"))
            await until(lambda: clock.sleepers == 1)
            assert server.got == (b"" if up_ms else b"hello")
            clock.advance("199ms")
            assert (clock.sleepers, asked.done()) == (1, False)
            clock.advance("1ms")
            assert await asked == b"hello"

    run(trial)


def test_slices_arrive_one_by_one():
    async def trial():
        clock, server = FakeClock(), EchoServer()
        async with proxied(server, clock=clock) as proxy, connected(proxy) as client:
            proxy.slice(2)
            await client.send(b"hello")
            await until(lambda: server.got == b"he")
            clock.advance("1ms")
            await until(lambda: server.got == b"hell")
            clock.advance("1ms")
            await until(lambda: server.got == b"hello")

    run(trial)


def test_bandwidth_lets_a_tenth_of_a_second_through_and_waits_as_long():
    async def trial():
        clock, server = FakeClock(), EchoServer()
        async with proxied(server, clock=clock) as proxy, connected(proxy) as client:
            proxy.bandwidth(1000)
            await client.send(b"x" * 150)
            await until(lambda: len(server.got) == 100 and clock.sleepers >= 1)
            clock.advance("99ms")
            assert len(server.got) == 100
            clock.advance("1ms")
            await until(lambda: len(server.got) == 150)

    run(trial)


def test_a_lost_reply_is_that_of_a_request_which_was_executed():
    async def trial():
        server = NumberServer()
        async with proxied(server, dialect=RESP) as proxy:
            proxy.drop_reply(of=2)
            async with connected(proxy) as client:
                await client.send(PING)
                assert await client.hears() == b":1\r\n"
                await client.send(PING)
                assert await client.is_reset()
            assert (server.count, proxy.requests, proxy.sprung) == (2, 2, 1)
            async with connected(proxy) as again:
                await again.send(PING)
                assert await again.hears() == b":3\r\n"

    run(trial)


def test_a_swallowed_reply_leaves_its_client_waiting_and_the_others_in_peace():
    async def trial():
        server = NumberServer()
        async with proxied(server, dialect=RESP) as proxy, connected(proxy) as client:
            proxy.drop_reply(then="swallow")
            await client.send(PING + PING)
            await until(lambda: server.count == 2)
            async with connected(proxy) as other:
                await other.send(PING)
                assert await other.hears() == b":3\r\n"
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.reader.read(1), 0.05)
            proxy.restore()
            assert await client.is_reset()

    run(trial)


def test_an_injected_line_comes_in_its_turn_and_its_command_never_runs():
    async def trial():
        server = NumberServer()
        async with proxied(server, dialect=RESP) as proxy, connected(proxy) as client:
            proxy.inject(LOADING, of=2)
            await client.send(PING * 3)
            heard = await client.reader.readexactly(len(b":1\r\n" + LOADING + b":2\r\n"))
            assert heard == b":1\r\n" + LOADING + b":2\r\n"
            assert (server.count, proxy.requests) == (2, 3)

    run(trial)


def test_an_injected_line_may_hide_what_was_executed():
    async def trial():
        server = NumberServer()
        async with proxied(server, dialect=RESP) as proxy, connected(proxy) as client:
            proxy.inject(LOADING, executed=True)
            await client.send(PING * 2)
            assert await client.reader.readexactly(len(LOADING) + 4) == LOADING + b":2\r\n"
            assert server.count == 2

    run(trial)


def test_only_requests_that_hold_given_bytes_are_counted():
    async def trial():
        server = EchoServer()
        async with proxied(server) as proxy, connected(proxy) as client:
            proxy.drop_reply(of=2, matching=b"XADD")
            for request in (b"HELLO", b"XADD", b"HELLO"):
                assert await client.ask(request) == request
            await client.send(b"XADD")
            assert await client.is_reset()
            assert server.got == b"HELLOXADDHELLOXADD"

    run(trial)


def test_a_server_that_resets_is_seen_to_reset():
    async def trial():
        async def rude(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1)
            own = writer.get_extra_info("socket")
            own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            writer.transport.abort()

        listening = await asyncio.start_server(rude, "127.0.0.1", 0)
        async with (
            listening,
            FaultProxy(*listening.sockets[0].getsockname()) as proxy,
            connected(proxy) as client,
        ):
            await client.send(b"hello")
            with pytest.raises(ConnectionResetError):
                await client.hears()

    run(trial)


def test_a_server_that_is_not_there_is_counted_as_refused():
    async def trial():
        with socket.create_server(("127.0.0.1", 0)) as nobody:
            port = nobody.getsockname()[1]
        async with FaultProxy(port=port) as proxy, connected(proxy) as client:
            assert await client.is_reset()
            assert proxy.refused == 1

    run(trial)


def test_a_unix_socket_may_stand_behind_it(tmp_path):
    async def trial():
        server = EchoServer()
        async with (
            await asyncio.start_unix_server(server, tmp_path / "s"),
            FaultProxy(path=tmp_path / "s") as proxy,
            connected(proxy) as client,
        ):
            assert await client.ask(b"hello") == b"hello"
            proxy.cut()
            assert await client.is_reset()
            await until(lambda: server.clients == 0)

    run(trial)


def test_its_end_closes_what_is_open_even_in_the_middle_of_a_delay():
    async def trial():
        clock = FakeClock()
        async with proxied(EchoServer(), clock=clock) as proxy:
            proxy.latency(up_ms=1000)
            client = Client(*await asyncio.open_connection(*proxy.address))
            await client.send(b"hello")
            await until(lambda: clock.sleepers == 1)
        assert await client.hears() == b""
        client.writer.close()
        await client.writer.wait_closed()
        await proxy.aclose()

    run(trial)


def test_its_end_waits_for_nobody_who_does_not_read():
    async def trial():
        server = EchoServer()
        async with proxied(server) as proxy:
            client = Client(*await asyncio.open_connection(*proxy.address, limit=1))
            with contextlib.suppress(TimeoutError):
                while True:  # until no buffer on the way takes any more
                    await asyncio.wait_for(client.send(b"x" * 1_000_000), 0.2)
        client.writer.transport.abort()

    run(trial)


def test_in_a_thread_of_its_own_it_serves_code_without_a_loop():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=echo_in_a_thread, args=(listening,), daemon=True).start()
        with FaultProxy.running(*listening.getsockname()) as proxy:
            with socket.create_connection(proxy.address, 10) as client:
                client.sendall(b"hello")
                assert client.recv(10) == b"hello"
                proxy.cut()
                with pytest.raises(ConnectionResetError):
                    client.recv(10)
            proxy.restore()
            with socket.create_connection(proxy.address, 10) as client:
                client.sendall(b"again")
                assert client.recv(10) == b"again"
            assert proxy.netloc == "{}:{}".format(*proxy.address)
        listening.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("where", [{}, {"port": 1, "path": "/s"}])
def test_one_server_stands_behind_it(where):
    with pytest.raises(ValueError, match=r"port=.*path="):
        FaultProxy(**where)


def test_a_proxy_that_does_not_run_has_no_address():
    with pytest.raises(UsageError, match="does not run"):
        assert FaultProxy(port=1).address


@pytest.mark.parametrize(
    ("switch", "field"),
    [
        (lambda proxy: proxy.drop_reply(of=0), "of=0"),
        (lambda proxy: proxy.drop_reply(then="explode"), "then='explode'"),
        (lambda proxy: proxy.inject(b"x", of=-1), "of=-1"),
        (lambda proxy: proxy.latency(up_ms=-1), "latency_ms"),
        (lambda proxy: proxy.slice(-1), "size"),
        (lambda proxy: proxy.bandwidth(-1), "bytes_per_s"),
    ],
)
def test_a_fault_that_cannot_be_is_refused_by_name(switch, field):
    with pytest.raises(ValueError, match=field):
        switch(FaultProxy(port=1))

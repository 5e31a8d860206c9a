"""Pages over HTTP, asked by clients that are right, wrong, slow and many."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import TypeVar

import pytest

from stem_core.observe.pages import Page, Pages, PagesServer

T = TypeVar("T")

LARGE = "x" * 20_000_000  # more than the buffers of two sockets hold


async def _fine() -> Page:
    return Page(body="fine\n")


async def _sorry() -> Page:
    return Page(status=HTTPStatus.SERVICE_UNAVAILABLE, body="not now\n")


async def _broken() -> Page:
    raise RuntimeError("a bug with a secret in it")


async def _large() -> Page:
    return Page(body=LARGE)


async def _slow() -> Page:
    await asyncio.sleep(3_600)
    raise AssertionError


PAGES: Pages = {
    "/fine": _fine, "/sorry": _sorry, "/broken": _broken, "/large": _large, "/slow": _slow,
}  # fmt: skip


def served(use: Callable[[int], Awaitable[T]], *, patience_s: float = 60, most: int = 8) -> T:
    """Return what *use* returns, given the port of a server."""

    async def main() -> T:
        server = PagesServer(PAGES, patience_s=patience_s, most=most)
        port = await server.start("127.0.0.1", 0)
        try:
            return await use(port)
        finally:
            await server.aclose()

    return asyncio.run(asyncio.wait_for(main(), 60))


async def say(port: int, request: bytes) -> bytes:
    """Return all that is answered to *request*."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def answered(request: bytes, **how) -> tuple[int, bytes]:
    """Return the status and the body of the answer to *request*; 0 for none."""
    answer = served(lambda port: say(port, request), **how)
    head, _, body = answer.partition(b"\r\n\r\n")
    return (int(head.split()[1]) if head else 0), body


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: here\r\n\r\n".encode()


@pytest.mark.parametrize(
    ("request_", "status", "body"),
    [
        (get("/fine"), 200, b"fine\n"),
        (get("/fine?verbose=1"), 200, b"fine\n"),
        (b"GET /fine HTTP/1.0\r\n\r\n", 200, b"fine\n"),
        (b"HEAD /fine HTTP/1.1\r\nHost: here\r\n\r\n", 200, b""),
        (get("/sorry"), 503, b"not now\n"),
    ],
)
def test_a_page_is_read(request_: bytes, status: int, body: bytes):
    assert answered(request_) == (status, body)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (get("/"), 404),
        (get("/fine/../../etc/passwd"), 404),
        (b"POST /fine HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", 405),
        (b"DELETE /fine HTTP/1.1\r\n\r\n", 405),
        (b"hello\r\n\r\n", 400),
        (b"GET /fine\r\n\r\n", 400),
        (b"GET /fine HTTP/2\r\n\r\n", 400),
        (b"GET fine HTTP/1.1\r\n\r\n", 400),
        (b"GET /fine HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET /fine HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"\r\n", 400),
        (b"GET /" + b"a" * 100_000, 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n", 400),  # TLS
        (b"\x00" * 30 + b"\n", 400),
    ],
)
def test_what_is_no_question_for_a_page_gets_a_clear_answer(request_: bytes, status: int):
    assert answered(request_)[0] == status


def test_a_page_that_fails_tells_the_log_and_not_the_caller(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.ERROR):
        status, body = answered(get("/broken"))
    assert (status, body) == (500, b"this page failed; the log says why\n")
    assert "a bug with a secret in it" in caplog.text


@pytest.mark.parametrize("request_", [b"", b"GET /fi", get("/fine")[:-2], get("/slow")])
def test_whoever_takes_too_long_is_cut_off(request_: bytes):
    assert answered(request_, patience_s=0.05) == (0, b"")


def test_whoever_does_not_read_is_cut_off():
    async def use(port: int) -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1)
        writer.write(get("/large"))
        await reader.readexactly(1)
        count = 1
        with contextlib.suppress(ConnectionError):
            while chunk := await _late(reader):
                count += len(chunk)
        writer.close()
        return count

    async def _late(reader: asyncio.StreamReader) -> bytes:
        while waiting[0]:
            waiting[0] -= 1
            await asyncio.sleep(0.1)
        return await reader.read(1_000_000)

    waiting = [25]
    assert served(use, patience_s=2) < len(LARGE)


def test_a_large_page_arrives_whole():
    assert answered(get("/large")) == (200, LARGE.encode())


def test_one_too_many_is_closed_and_the_others_are_served():
    async def use(port: int) -> tuple[bytes, bytes]:
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        refused = await say(port, get("/fine"))
        for _, writer in idle:
            writer.close()
            await writer.wait_closed()
        while not (served := await say(port, get("/fine"))):  # until it has seen them go
            await asyncio.sleep(0)
        return refused, served

    refused, answer = served(use, most=2)
    assert refused == b""
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_crowd_leaves_it_answering():
    async def use(port: int) -> bytes:
        crowd = [asyncio.open_connection("127.0.0.1", port) for _ in range(400)]
        opened = await asyncio.gather(*crowd, return_exceptions=True)
        for each in opened:
            if not isinstance(each, BaseException):
                each[1].close()
        while not (answer := await say(port, get("/fine"))):
            await asyncio.sleep(0)
        return answer

    assert served(use).endswith(b"fine\n")


def test_a_port_that_is_taken_is_an_error_of_the_system():
    async def use(port: int) -> None:
        with pytest.raises(OSError, match="address already in use"):
            await PagesServer(PAGES).start("127.0.0.1", port)

    served(use)


def test_who_is_still_served_at_the_end_is_cut_off():
    async def main() -> bytes:
        begun = asyncio.Event()

        async def slow() -> Page:
            begun.set()
            return await _slow()

        server = PagesServer({"/slow": slow})
        port = await server.start("127.0.0.1", 0)
        asked = asyncio.ensure_future(say(port, get("/slow")))
        await begun.wait()
        await server.aclose()
        await server.aclose()
        return await asked

    assert asyncio.run(asyncio.wait_for(main(), 60)) == b""

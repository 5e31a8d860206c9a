"""A few read-only pages over HTTP, for probes and for Prometheus.

It answers GET and HEAD of the paths it is given, one request a connection, and closes.
Rule of this module: whoever calls may be slow, wrong or many, and costs a moment at
most: everything has a limit, and what does not keep to it is cut off.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import Final, TypeAlias

from stem_core.model.value import Value

__all__ = ["Page", "Pages", "PagesServer"]

_log = logging.getLogger("stem.observe")

_REQUEST: Final = re.compile(rb"([A-Z]{1,16}) (/[!-~]{0,1023}) HTTP/1\.[01]\r?\n")
_MOST_BYTES: Final = 8_192
_MOST_LINES: Final = 100


class Page(Value, frozen=True, kw_only=True):
    """What is answered."""

    status: HTTPStatus = HTTPStatus.OK
    content_type: str = "text/plain; charset=utf-8"
    body: str = ""


Pages: TypeAlias = Mapping[str, Callable[[], Awaitable[Page]]]


class PagesServer:
    """Serves *pages* by their paths. Belongs to the loop that starts it.

    Args:
        patience_s: how long one connection may take, from its first byte to its last.
        most: connections at a time; one more is closed at once.
    """

    def __init__(self, pages: Pages, *, patience_s: float = 5.0, most: int = 32) -> None:
        self._pages = pages
        self._patience_s = patience_s
        self._most = most
        self._talks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen, and return the port, which the system chooses for 0.

        Raises:
            OSError: this host and port cannot be listened on.
        """
        self._server = await asyncio.start_server(self._met, host, port, limit=_MOST_BYTES)
        chosen: int = self._server.sockets[0].getsockname()[1]
        return chosen

    async def aclose(self) -> None:
        """Listen no more, and cut off who is still served. Idempotent."""
        if self._server is not None:
            self._server.close()
        for talk in self._talks:
            talk.cancel()
        if self._talks:
            await asyncio.wait(self._talks)

    def _met(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._talks) >= self._most:
            writer.transport.abort()
            return
        talk = asyncio.get_running_loop().create_task(self._talk(reader, writer))
        self._talks.add(talk)
        talk.add_done_callback(partial(self._over, writer))

    def _over(self, writer: asyncio.StreamWriter, talk: asyncio.Task[None]) -> None:
        self._talks.discard(talk)
        writer.transport.abort()  # what was to be sent is sent

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, TimeoutError):  # it is gone, or too slow
            async with asyncio.timeout(self._patience_s):
                await self._answer(reader, writer)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path, is_head = "", False
        try:
            method, path = await _request(reader)
            is_head = method == "HEAD"
            page = await self._page(method, path)
        except ValueError as error:  # asyncio says that a line is too long in this way too
            page = _refusal(HTTPStatus.BAD_REQUEST, f"this is no request: {error}"[:200])
        writer.transport.set_write_buffer_limits(high=0)  # `drain` returns when all is sent
        writer.write(_encoded(page, is_head=is_head))
        await writer.drain()
        writer.write_eof()
        while await reader.read(_MOST_BYTES):  # until it has closed, so that it loses nothing
            pass

    async def _page(self, method: str, path: str) -> Page:
        produce = self._pages.get(path)
        if produce is None:
            known = ", ".join(self._pages)
            return _refusal(HTTPStatus.NOT_FOUND, f"there is no such page; there are {known}")
        if method not in ("GET", "HEAD"):
            return _refusal(HTTPStatus.METHOD_NOT_ALLOWED, "pages can only be read: GET")
        try:
            return await produce()
        except Exception:  # a bug, of ours or of a plugin's: it costs this page only
            _log.exception("the page %s failed", path)
            return _refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "this page failed; the log says why")


async def _request(reader: asyncio.StreamReader) -> tuple[str, str]:
    """Return the method and the path; headers are read, and mean nothing here."""
    found = _REQUEST.fullmatch(await reader.readline())
    if found is None:
        raise ValueError("expected GET /metrics HTTP/1.1")
    for _ in range(_MOST_LINES):
        line = await reader.readline()
        if line in (b"\r\n", b"\n"):
            method, target = found[1].decode(), found[2].decode()
            return method, target.partition("?")[0]
        if b":" not in line:
            raise ValueError("a header has no colon")
    raise ValueError(f"more than {_MOST_LINES} headers")


def _refusal(status: HTTPStatus, why: str) -> Page:
    return Page(status=status, body=f"{why}\n")


def _encoded(page: Page, *, is_head: bool) -> bytes:
    body = page.body.encode()
    headers = {
        "Content-Type": page.content_type,
        "Content-Length": len(body),
        "Allow": "GET, HEAD",
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        "Connection": "close",
    }
    lines = [f"HTTP/1.1 {page.status.value} {page.status.phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    head = "\r\n".join([*lines, "", ""]).encode()
    return head if is_head else head + body

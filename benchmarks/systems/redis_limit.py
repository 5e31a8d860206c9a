"""The limit: hiredis on a socket, one narrow list; no promise about tasks at all."""

from __future__ import annotations

import socket
from typing import Any
from urllib.parse import urlsplit

import hiredis
import redis_tally as tally

BODY = b"x" * 200
BATCH = 500
TAKE = """
local taken = redis.call('LPOP', KEYS[1], ARGV[1])
if taken then redis.call('HSET', KEYS[2], 'held', #taken) end
return taken
"""


class Line:
    """One call at a time over a blocking socket."""

    def __init__(self) -> None:
        where = urlsplit(tally.URL)
        self._socket = socket.create_connection((where.hostname, where.port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = hiredis.Reader()

    def call(self, *args: Any) -> Any:
        self._socket.sendall(hiredis.pack_command(args))
        while (reply := self._reader.gets()) is False:
            self._reader.feed(self._socket.recv(65536))
        return reply


async def open() -> None:
    global line
    line = Line()


async def enqueue(name: str, count: int) -> None:
    for _ in range(count):
        line.call("RPUSH", name, BODY)


async def enqueue_many(name: str, count: int) -> None:
    while count > 0:
        line.call("RPUSH", name, *[BODY] * min(count, BATCH))
        count -= BATCH


async def close() -> None:
    """The process ends."""


def serve() -> None:
    """Take what waits in batches; with the results, write each in a batch as well."""
    line = Line()
    while True:
        for name in ("nothing", "one"):
            while taken := line.call("EVAL", TAKE, 2, name, "held", 200):
                for _ in taken:
                    tally.count()
                if name == "one":
                    line.call("MSET", *[word for body in taken for word in (body[:20], b"1")])
        while line.call("BLPOP", "mark", 1):
            tally.mark()

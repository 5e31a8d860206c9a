"""Finding the key that holds something else: the server says only that there is one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from stem_core.plugin import StoreError
from stem_redis.connection import Server
from stem_redis.errors import WrongType

__all__ = ["diagnosed"]

_ALONE: Final[Mapping[str, str]] = {
    **dict.fromkeys(("turn", "epoch", "swept"), "string"),
    **dict.fromkeys(("queues", "paused"), "set"),
    **dict.fromkeys(("x", "rx", "graves"), "zset"),
    **dict.fromkeys(("beats", "schedules"), "hash"),
}
_OF_A_QUEUE: Final[Mapping[str, str]] = {
    **dict.fromkeys(("q:", "d:", "l:", "x:"), "zset"),
    **dict.fromkeys(("pw:", "pr:"), "set"),
    "z:": "string",
}


async def diagnosed(error: WrongType, server: Server, prefix: str) -> StoreError:
    """Return *error* with the name of the key, if it can be found."""
    for name, wanted in _ALONE.items():
        if found := await _stranger(server, prefix + name, wanted):
            return _named(error, server, prefix + name, found)
    for queue in await server.command("SMEMBERS", f"{prefix}queues"):
        for name, wanted in _of(queue.decode(), prefix):
            if found := await _stranger(server, name, wanted):
                return _named(error, server, name, found)
    return error


def _of(queue: str, prefix: str) -> Iterator[tuple[str, str]]:
    for name, wanted in _OF_A_QUEUE.items():
        yield f"{prefix}{name}{queue}", wanted


async def _stranger(server: Server, name: str, wanted: str) -> str:
    """Return the type of the key *name* if it is not the one that it must have."""
    found = str((await server.command("TYPE", name)).decode())
    return "" if found in ("none", wanted) else found


def _named(error: WrongType, server: Server, name: str, found: str) -> WrongType:
    return WrongType(
        f"{server.location.shown}: the key {name} holds a {found} that Stem did not write",
        way_out=error.way_out,
    )

"""Finding the key that holds something else: the server says only that there is one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Final

from stem_core.plugin import Fault, StoreError
from stem_redis.connection import Server
from stem_redis.errors import WrongType
from stem_redis.line import Arg
from stem_redis.packing import names_in, names_in_row

__all__ = ["ALONE", "NAMED", "diagnosed"]

ALONE: Final[Mapping[str, str]] = {
    **dict.fromkeys(("turn", "epoch", "swept", "walk", "aired", "health"), "string"),
    **dict.fromkeys(("queues", "paused"), "set"),
    **dict.fromkeys(("x", "rx", "graves"), "zset"),
    **dict.fromkeys(("beats", "schedules"), "hash"),
}
"""The keys of which a namespace has one, and what they hold."""

NAMED: Final[Mapping[str, str]] = {
    **dict.fromkeys(("q:", "d:", "l:", "x:", "lr:", "lc:"), "zset"),
    **dict.fromkeys(("pw:", "pr:"), "set"),
    **dict.fromkeys(("z:", "u:", "r:", "g:", "k:"), "string"),
    "w:": "stream",
    "m:": "hash string",
}
"""How keys begin behind which the name of a queue, a task, a lock or the like stands."""

_OF_ONE: Final = ("u:", "r:", "g:", "k:", "m:")
"""Behind which of them that of one task, lock or limit stands: all others are shared."""

_AT_ONCE: Final = 1_000
"""Keys that are looked at in one call: it stays short."""

_LOOK: Final = """
if ARGV[1] ~= '' then redis.call('SELECT', ARGV[1]) end
for i = 2, #ARGV, 2 do
    local found = redis.call('TYPE', KEYS[1] .. ARGV[i]).ok
    if found ~= 'none' and not string.find(ARGV[i + 1], found, 1, true) then
        return {ARGV[i], found}
    end
end
return false
"""

_ROWS: Final = """
local rows = {}
for i = 1, #ARGV do
    local row = redis.pcall('HGET', KEYS[1] .. 'm:' .. ARGV[i], 's')
    if type(row) == 'string' then rows[#rows + 1] = row end
end
return rows
"""


async def diagnosed(
    error: WrongType, server: Server, prefix: str, args: Sequence[Arg], homes: tuple[str, str]
) -> StoreError:
    """Return *error*, of a call with *args*, with the name of the key, if it can be found.

    *homes* are the logical databases where it may be, that of the connection first.
    """
    async for keys in _suspects(server, prefix, args):
        for db in dict.fromkeys(homes):
            elsewhere = "" if db == homes[0] else db
            for start in range(0, len(keys), _AT_ONCE):
                words = [word for pair in keys[start : start + _AT_ONCE] for word in pair]
                found = await server.command("EVAL", _LOOK, 1, prefix, elsewhere, *words)
                if found:
                    return _named(error, server, prefix, *found)
    return error


async def _suspects(
    server: Server, prefix: str, args: Sequence[Arg]
) -> AsyncIterator[Sequence[tuple[str, str]]]:
    """Yield keys and what they hold, the likely ones first. What is asked for in between could
    itself be stopped by one of those before."""
    yield list(ALONE.items())
    words = {arg for arg in args if isinstance(arg, str) and arg}
    rows = [names_in(arg) for arg in args if isinstance(arg, bytes)]
    yield _keys_of(words.union(*rows))
    yield _keys_of([name.decode() for name in await server.command("SMEMBERS", f"{prefix}queues")])
    kept = await server.command("EVAL", _ROWS, 1, prefix, *sorted(words))
    yield _keys_of(set().union(*map(names_in_row, kept)))


def _keys_of(names: Iterable[str]) -> Sequence[tuple[str, str]]:
    return [(begin + name, holds) for name in names for begin, holds in NAMED.items()]


def _named(error: WrongType, server: Server, prefix: str, key: bytes, found: bytes) -> WrongType:
    name = key.decode(errors="replace")
    # No message is bad where all of a queue share a key: they wait until that is put right.
    fault = Fault.DATA if name.startswith(_OF_ONE) else Fault.FATAL_CONFIG
    return WrongType(
        f"{server.location.shown}: the key {prefix}{name} holds a {found.decode()} that Stem did "
        "not write",
        fault=fault,
        way_out=error.way_out,
    )

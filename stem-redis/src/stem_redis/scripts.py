"""The Lua scripts, one for each verb, as a server of some version understands them.

A script is its parts, named in its first line, and its own file, one behind the other.
"""

from __future__ import annotations

from functools import cache
from hashlib import sha1
from importlib.resources import files
from typing import Final

from attrs import field, frozen

__all__ = ["Flavour", "Script", "script"]

Flavour = bool
"""True for servers that read ``#!lua`` in the first line: Redis 7, every Valkey."""

_USES: Final = "-- uses:"
_REFUSED_WHEN_FULL: Final = frozenset({"publish", "publish_plain"})
"""What adds work. All else makes room, or must go on so that workers can."""

# A server without shebangs refuses a script's first write when it is full, if that one
# needs memory; after one that needs none it lets the script go on. So the first is this.
_GO_ON: Final = "redis.call('DEL', KEYS[1] .. 'nothing')\n"


@frozen
class Script:
    """A script and the name by which the server knows it."""

    name: str
    text: str = field(repr=False)
    sha: str


@cache
def script(name: str, flavour: Flavour) -> Script:
    """Return the script of *name* for servers of *flavour*."""
    text = _head(name, flavour) + _assembled(name)
    return Script(name, text, sha1(text.encode(), usedforsecurity=False).hexdigest())


def _head(name: str, flavour: Flavour) -> str:
    goes_on = name not in _REFUSED_WHEN_FULL
    if flavour:
        return "#!lua flags=allow-oom\n" if goes_on else "#!lua\n"
    return _GO_ON if goes_on else ""


def _assembled(name: str) -> str:
    own = _read(f"{name}.lua")
    first, _, _ = own.partition("\n")
    parts = first.removeprefix(_USES).split() if first.startswith(_USES) else []
    return "".join(_without_comments(_read(f"parts/{part}.lua")) for part in parts) + (
        _without_comments(own)
    )


def _without_comments(text: str) -> str:
    # They are for people; the server keeps every script for ever.
    lines = (line for line in text.splitlines() if not line.lstrip().startswith("--"))
    return "\n".join(line for line in lines if line.strip()) + "\n"


def _read(path: str) -> str:
    return files("stem_redis").joinpath("lua", *path.split("/")).read_text("utf-8")

"""Who is who: ids of tasks, and the names of queues, tasks and namespaces.

Rule of this module: time and randomness are arguments. A name that passes here
is safe as a key, a column value, a file name and a URL path in every store.
"""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import sha256
from typing import Final

from stem_core.model.errors import InvalidName

__all__ = ["MAX_NAME", "check_id", "check_name", "derived_id", "uuid7", "uuid7s"]

MAX_NAME: Final = 128
"""Longest name or id, in characters (all of them ASCII)."""

_is_name: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}").fullmatch
_REFUSED: Final = re.compile(r"[^A-Za-z0-9._-]")
_ALPHABET: Final = "Use letters, digits, '_', '-' and '.', starting with a letter, a digit or '_'."
_MAX_TIME_MS: Final = 1 << 48
_VARIANTS: Final = "".join(digit * 64 for digit in "89ab")
"""The digit with the variant's two bits, by the byte whose upper two stand below them."""

_VARIANT: Final = {digit: _VARIANTS[int(digit, 16) << 4] for digit in "0123456789abcdef"}
"""The same by the upper digit of that byte."""


def uuid7(now_ms: int, randomness: bytes) -> str:
    """Return the UUIDv7 (RFC 9562) of *now_ms* and ten bytes of *randomness*, canonical text.

    Ids of a later millisecond sort after those of an earlier one.
    """
    if len(randomness) != 10:
        raise ValueError(f"not 10 bytes: {len(randomness)}")
    dice = randomness.hex("-", 6)
    return f"{_stamp(now_ms)}{dice[:3]}-{_VARIANTS[randomness[2]]}{dice[5:]}"


def uuid7s(now_ms: int, randomness: bytes) -> list[str]:
    """Return `uuid7` of *now_ms* and each ten bytes of *randomness*."""
    if len(randomness) % 10:
        raise ValueError(f"not a multiple of 10 bytes: {len(randomness)}")
    stamp = _stamp(now_ms)
    return [
        f"{stamp}{dice[:3]}-{_VARIANT[dice[4]]}{dice[5:8]}-{dice[8:]}"
        for dice in randomness.hex(" ", 10).split()
    ]


@lru_cache(2)  # many are made in one millisecond
def _stamp(now_ms: int) -> str:
    if not 0 <= now_ms < _MAX_TIME_MS:
        raise ValueError(f"not an instant of 48 bits: {now_ms}")
    time = f"{now_ms:012x}"
    return f"{time[:8]}-{time[8:]}-7"


def derived_id(parent: str, ordinal: int) -> str:
    """Return the id of the *ordinal*-th follow-up of *parent*: the same on every attempt.

    UUID-shaped, version 8: 122 bits of SHA-256 over both.
    """
    dice = sha256(f"stem.id.v1\n{len(parent)}:{parent}\n{ordinal}".encode()).hexdigest()
    variant = "89ab"[int(dice[16], 16) & 3]
    return f"{dice[:8]}-{dice[8:12]}-8{dice[13:16]}-{variant}{dice[17:20]}-{dice[20:32]}"


def check_name(text: str, *, kind: str) -> str:
    """Return *text* when it can name a *kind* (``"queue"``, ``"task"``, …), as a plain str.

    Raises:
        InvalidName: says which character, at which place.
    """
    if type(text) is str and _is_name(text) and ".." not in text:
        return text
    if isinstance(text, str):  # also members of a StrEnum
        plain = str.__str__(text)
        if _is_name(plain) and ".." not in plain:
            return plain
    raise _refusal(text, kind)


def check_id(text: str) -> str:
    """Return *text* when a caller may choose it as a task's id.

    Raises:
        InvalidName: says which character, at which place.
    """
    return check_name(text, kind="id")


def _refusal(text: object, kind: str) -> InvalidName:
    if not isinstance(text, str):
        return InvalidName(f"a {kind} is text, got {type(text).__name__}", way_out=_ALPHABET)
    if not text:
        return InvalidName(f"the {kind} is empty", way_out=_ALPHABET)
    return InvalidName(f"{kind} {_shown(text)} {_fault(text)}", way_out=_ALPHABET)


def _fault(text: str) -> str:
    if found := _REFUSED.search(text):
        return f"has {found[0]!a} at character {found.start() + 1}"
    if text[0] in ".-":
        return f"starts with {text[0]!r}"
    if (place := text.find("..")) >= 0:
        return f"has '..' at character {place + 1}"
    return f"has {len(text)} characters, more than {MAX_NAME}"


def _shown(text: str) -> str:
    # ascii(): a look-alike letter or an escape sequence must be visible as what it is.
    return ascii(text) if len(text) <= 60 else ascii(text[:57]) + "..."

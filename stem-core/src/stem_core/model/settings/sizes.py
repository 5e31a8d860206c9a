"""Amounts of memory, written with their units."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["Size", "format_size", "read_size"]

_UNITS: Final = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_FORM: Final = re.compile(r"([1-9][0-9]{0,8})([KMGT])(?:i?B)?", re.IGNORECASE)


class Size(int):
    """Bytes, which as text are what `read_size` reads."""

    def __str__(self) -> str:
        size, unit = max((size, name) for name, size in _UNITS.items() if self % size == 0)
        return f"{self // size}{unit}"


def read_size(text: str, _: str) -> Size:
    """Return the bytes of ``512M`` or ``2GiB``; a K is 1024.

    Raises:
        ValueError: it is no such text; says what was expected.
    """
    found = _FORM.fullmatch(text)
    if found is None:
        raise ValueError("expected a size with its unit, such as 512M or 2G")
    return Size(int(found[1]) * _UNITS[found[2].upper()])


def format_size(size: int) -> str:
    """Return *size* in whole mebibytes, for people: ``512M``."""
    return f"{size >> 20}M"

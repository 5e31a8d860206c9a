"""Spans of time: what users may write, and the integer milliseconds that Stem keeps.

Rule of this module: it knows spans only. Nothing in here reads a clock, and
nothing outside it takes a user's span apart.
"""

from __future__ import annotations

import math
import re
from datetime import timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Final, NewType, TypeAlias

from stem_core.model.errors import InvalidOption

__all__ = ["MAX_MS", "Duration", "Milliseconds", "format_ms", "to_ms"]

Duration: TypeAlias = timedelta | int | float | str
"""What users may give: a timedelta, a number of seconds, or text with units (``"1h30m"``)."""

Milliseconds = NewType("Milliseconds", int)
"""A span in milliseconds. As the type of an option it means: users write a `Duration`."""

MAX_MS: Final = 100 * 365 * 86_400_000
"""One hundred years: more than any span in Stem, and far from every store's integer limit."""

_UNITS: Final = (
    ("w", 604_800_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
)
_TEXT: Final = re.compile(
    "".join(rf"(?:([0-9]{{1,15}}(?:\.[0-9]{{1,9}})?){unit}(?![a-z]))?" for unit, _ in _UNITS)
)
_EXAMPLES: Final = (
    'Write a timedelta, a number of seconds, or text such as "250ms", "90s", "1h30m".'
)


def to_ms(value: Duration, *, field: str, minimum_ms: int = 0, maximum_ms: int = MAX_MS) -> int:
    """Return *value* in whole milliseconds, rounded to the nearest.

    A bare number is seconds. Text needs units, the larger before the smaller.

    Raises:
        InvalidOption: not a span, or outside the limits; names *field* and the value.
    """
    exact = _exact_ms(value)
    if exact is None:
        raise InvalidOption(f"{field}={_shown(value)} is not a duration", way_out=_EXAMPLES)
    if not minimum_ms <= exact <= maximum_ms:
        raise InvalidOption(
            f"{field}={_shown(value)} is out of range: "
            f"expected {format_ms(minimum_ms)} to {format_ms(maximum_ms)}"
        )
    return exact


def format_ms(span_ms: int) -> str:
    """Return *span_ms* as text with units, ``"1h30m"``; `to_ms` reads it back exactly.

    A negative span gets a minus sign: good to read, refused by `to_ms`.
    """
    if span_ms == 0:
        return "0s"
    rest, parts = abs(span_ms), []
    for unit, size in _UNITS[1:]:  # "7d" reads better than "1w"
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
    return ("-" if span_ms < 0 else "") + "".join(parts)


def _exact_ms(value: object) -> int | None:
    """Return the milliseconds of *value*, or None when it is no span at all."""
    match value:
        case bool():
            return None
        case timedelta():
            return round(value / timedelta(milliseconds=1))
        case int():
            return value * 1000
        case float():
            return round(value * 1000) if math.isfinite(value * 1000) else None
        case str():
            return _parse(value.strip())
        case _:
            return None


def _parse(text: str) -> int | None:
    match = _TEXT.fullmatch(text)
    if match is None or not text:
        return None
    spans = (
        Decimal(count) * size
        for count, (_, size) in zip(match.groups(), _UNITS, strict=True)
        if count is not None
    )
    return int(sum(spans, Decimal()).to_integral_value(ROUND_HALF_UP))


def _shown(value: object) -> str:
    # An int of more than 4300 digits has no repr.
    text = "an enormous number" if isinstance(value, int) and abs(value) > 1 << 64 else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."

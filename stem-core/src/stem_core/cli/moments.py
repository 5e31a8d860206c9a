"""Instants and spans for people who read in a hurry.

Rule of this module: pure; what time it is now is an argument.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from stem_core.model.duration import format_ms
from stem_core.model.outcome import when

__all__ = ["distance", "iso", "moment", "span"]

# from this span on: nobody needs to know it finer than that
_GRAINS: Final = (
    (10 * 86_400_000, 86_400_000),
    (86_400_000, 3_600_000),
    (3_600_000, 60_000),
    (1_000, 1_000),
)


def span(span_ms: int) -> str:
    """Return *span_ms* as text, as fine as is worth reading: ``3m12s``, ``2d4h``."""
    span_ms = max(0, span_ms)
    grain_ms = next((grain for least, grain in _GRAINS if span_ms >= least), 1)
    return format_ms(span_ms - span_ms % grain_ms)


def distance(instant_ms: int, now_ms: int) -> str:
    """Return how far away an instant is: ``3m12s ago``, ``in 2d4h``, ``now``."""
    away_ms = instant_ms - now_ms
    if abs(away_ms) < 1_000:
        return "now"
    return f"in {span(away_ms)}" if away_ms > 0 else f"{span(-away_ms)} ago"


def moment(instant_ms: int, now_ms: int) -> str:
    """Return an instant in UTC, and how far away it is; empty when it is unknown."""
    if not instant_ms:
        return ""
    instant = _instant(instant_ms)
    if instant is None:
        return f"{instant_ms} ms after 1970"
    return f"{instant:%Y-%m-%d %H:%M:%S}Z ({distance(instant_ms, now_ms)})"


def iso(instant_ms: int) -> str | None:
    """Return an instant for programs; None when it is unknown."""
    instant = _instant(instant_ms)
    return instant.isoformat(timespec="milliseconds") if instant else None


def _instant(instant_ms: int) -> datetime | None:
    try:
        return when(instant_ms)
    except (OverflowError, ValueError, OSError):  # a stranger's number, beyond all calendars
        return None

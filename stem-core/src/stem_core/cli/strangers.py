"""What strangers may have written, made fit for a terminal: errors, tracebacks, bodies.

Rule of this module: every line that it returns is printable, and none is endless.
Nothing in here trusts a signature, so nothing in here acts on what it shows.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator, Sequence
from typing import Any, Final

from stem_core.cli.moments import moment
from stem_core.cli.terminal import visible, width_of
from stem_core.model.codec import decode_value
from stem_core.model.errors import ResultCorrupt
from stem_core.model.outcome import TaskError

__all__ = ["body_facts", "body_lines", "cut", "error_facts", "error_line", "history_lines"]

_MOST_LINES: Final = 200
_MOST_COLUMNS: Final = 400
_MOST_BYTES: Final = 512


def cut(text: str, columns: int) -> str:
    """Return printable *text* in at most *columns*; what is cut from its end shows as ``…``."""
    if width_of(text) <= columns:
        return text
    kept, width = "", 1
    for letter in text:
        width += width_of(letter)
        if width > columns:
            break
        kept += letter
    return kept + "…" if columns > 0 else ""


# ── errors ───────────────────────────────────────────────────────────────────


def error_line(error: TaskError, columns: int = _MOST_COLUMNS) -> str:
    """Return *error* on one line."""
    told = f"{error.type}: {error.message}" if error.message else error.type
    return cut(visible(told), columns)


def history_lines(errors: Sequence[TaskError], now_ms: int) -> Iterator[str]:
    """Tell each of *errors* with its traceback."""
    for error in errors:
        number = f"attempt {error.attempt}" if error.attempt else "before any attempt"
        at = moment(error.at_ms, now_ms)
        yield f"{number}, {at}" if at else number
        yield f"  {error_line(error)}"
        yield from (f"    {line}" for line in _shortened(error.traceback.rstrip().split("\n")))


def error_facts(error: TaskError | None) -> dict[str, Any] | None:
    """Return *error* for programs."""
    if error is None:
        return None
    return {
        "type": error.type,
        "message": error.message,
        "traceback": error.traceback,
        "attempt": error.attempt,
        "at_ms": error.at_ms,
    }


# ── bodies ───────────────────────────────────────────────────────────────────


def body_lines(body: bytes) -> Iterator[str]:
    """Tell what is in *body*: pretty printed if it is JSON, else as Python writes bytes."""
    size = f"{len(body):,} bytes"
    try:
        value = decode_value(body)
    except ResultCorrupt:
        is_cut = f"; the first {_MOST_BYTES}" if len(body) > _MOST_BYTES else ""
        yield f"body: {size}, not JSON{is_cut}"
        yield f"  {body[:_MOST_BYTES]!r}"
        return
    yield f"body: {size} of JSON"
    # Split at "\n" alone: other letters that end lines can stand inside of a string.
    pretty = json.dumps(value, indent=2, ensure_ascii=False).split("\n")
    yield from (f"  {line}" for line in _shortened(pretty))


def body_facts(body: bytes) -> dict[str, Any]:
    """Return *body* for programs: its bytes, and its value if it is JSON."""
    try:
        value = decode_value(body)
    except ResultCorrupt:
        value = None
    return {"body": value, "body_bytes": len(body), "body_base64": b64encode(body).decode("ascii")}


def _shortened(lines: Sequence[str]) -> Iterator[str]:
    for line in lines[:_MOST_LINES]:
        shown = line.expandtabs()[: _MOST_COLUMNS + 1]
        if shown.strip():
            yield cut(visible(shown), _MOST_COLUMNS)
    if len(lines) > _MOST_LINES:
        yield f"… and {len(lines) - _MOST_LINES:,} lines more; --json prints everything"

"""Text for people: colours, widths, tables and a line that rewrites itself.

Rule of this module: what goes to a terminal may move and shine, what goes into
a pipe is plain lines. Whoever prints says what it means, never how it looks.
"""

from __future__ import annotations

import os
import shutil
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import IO, Final, Literal

from attrs import frozen

__all__ = ["Paint", "Progress", "Shade", "count_of", "fit", "table", "visible", "width_of"]

Shade = Literal["good", "bad", "warn", "dim", "bold"]

_CODES: Final[Mapping[Shade, str]] = {
    "good": "32",
    "bad": "31",
    "warn": "33",
    "dim": "2",
    "bold": "1",
}
_CLEAR_LINE: Final = "\r\x1b[K"
_GAP: Final = "  "
_REDRAWS: Final = 200


@frozen
class Paint:
    """Colours text, or leaves it alone."""

    on: bool

    @classmethod
    def of(cls, stream: IO[str], environment: Mapping[str, str] = os.environ) -> Paint:
        """Decide for *stream*: colours on a terminal only, and the user has the last word."""
        if environment.get("NO_COLOR"):
            return cls(False)
        if environment.get("FORCE_COLOR"):
            return cls(True)
        return cls(stream.isatty() and environment.get("TERM") != "dumb")

    def __call__(self, text: str, shade: Shade) -> str:
        return f"\x1b[{_CODES[shade]}m{text}\x1b[0m" if self.on else text


def visible(text: str) -> str:
    """Return *text* on one line, with all that a terminal would obey or hide escaped."""
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii")
        for letter in text
    )


def count_of(number: int, thing: str) -> str:
    """Return *number* of *thing*, in the plural where it belongs."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def width_of(text: str) -> int:
    """Return how many columns printable *text* takes on a terminal."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(letter) else 1 + (unicodedata.east_asian_width(letter) in "WF")
        for letter in text
    )


def fit(text: str, columns: int) -> str:
    """Return *text* in at most *columns*; what is cut from its front shows as ``…``.

    The front is cut, for the ends of paths and names tell them apart.
    """
    if width_of(text) <= columns:
        return text
    kept = ""
    for letter in reversed(text):
        if width_of(kept) + width_of(letter) > columns - 1:
            break
        kept = letter + kept
    return "…" + kept if columns > 0 else ""


def table(
    header: Sequence[str], rows: Iterable[Sequence[str]], *, right: frozenset[int] = frozenset()
) -> list[str]:
    """Return lines with aligned columns; those whose index is in *right* are flush right.

    Cells are made `visible`; the last column is not padded.
    """
    cells = [tuple(header), *(tuple(map(visible, row)) for row in rows)]
    widths = [max(map(width_of, column)) for column in zip(*cells, strict=True)]
    return [_line(row, widths, right).rstrip() for row in cells]


def _line(row: Sequence[str], widths: Sequence[int], right: frozenset[int]) -> str:
    padded = []
    for place, (cell, width) in enumerate(zip(row, widths, strict=True)):
        space = " " * (width - width_of(cell))
        padded.append(space + cell if place in right else cell + space)
    return _GAP.join(padded)


class Progress:
    """Shows how far a known amount of work is.

    On a terminal one line rewrites itself; elsewhere a plain line appears at
    every tenth. `say` prints a line that stays.
    """

    def __init__(self, stream: IO[str], total: int, *, live: bool) -> None:
        self._stream: Final = stream
        self._total: Final = total
        self._live: Final = live
        self._shown = ""
        self._drawn = 0
        self._tenth = 0

    def show(self, done: int, note: str = "") -> None:
        """Say that *done* of the total are done; *note* is about the moment."""
        text = f"{done}/{self._total}"
        if self._live:
            # More often than this nobody can read, and a remote terminal falls behind.
            if done == self._total or done - self._drawn >= self._total // _REDRAWS:
                self._drawn = done
                self._draw(f"  {_bar(done, self._total)} {text}  {visible(note)}")
            return
        tenth = done * 10 // self._total if self._total else 10
        if tenth > self._tenth:
            self._tenth = tenth
            self._write(f"  {text} done\n")

    def say(self, text: str) -> None:
        """Print a line that stays, above the one that moves."""
        shown = self._shown
        self.end()
        self._write(f"{text}\n")
        if shown:
            self._draw(shown)

    def end(self) -> None:
        """Wipe the line that moves."""
        if self._shown:
            self._write(_CLEAR_LINE)
            self._shown = ""

    def _draw(self, text: str) -> None:
        # A line as wide as the terminal would wrap, and a wrapped line cannot be rewritten.
        columns = shutil.get_terminal_size().columns - 1
        while width_of(text) > columns:
            text = text[:-1]
        self._shown = text
        self._write(f"{_CLEAR_LINE}{text}")

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def _bar(done: int, total: int, cells: int = 24) -> str:
    filled = done * cells // total if total else cells
    return "[" + "#" * filled + "." * (cells - filled) + "]"

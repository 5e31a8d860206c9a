"""What SQLite's errors mean for the caller. The one place where they are translated.

A message of SQLite holds no secret: it names neither rows nor values.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Final

from stem_core.model.errors import (
    Fault,
    StoreError,
    StoreFull,
    StoreMisconfigured,
    StoreUnavailable,
)

__all__ = ["LOCKED", "code_of", "translated"]

LOCKED: Final = frozenset({5, 6})
"""SQLITE_BUSY and SQLITE_LOCKED: somebody else is writing."""

_UNKNOWN: Final = -1
_FULL: Final = 13

# By primary result code, https://www.sqlite.org/rescode.html: what happened, and the way out.
_MISCONFIGURED: Final[Mapping[int, tuple[str, str]]] = {
    3: ("may not be used by this user", "Give the user of this process access to it."),
    8: (
        "cannot be written to",
        "Stem writes to the file and to its folder: give the user of this process both.",
    ),
    11: ("is damaged", "Restore it from a backup, or rescue what `sqlite3 FILE .recover` finds."),
    14: ("cannot be opened", "Is its folder there, and may this user write in it?"),
    26: ("is not an SQLite database", "Is the path right? Stem creates the file itself."),
}


def code_of(error: sqlite3.Error) -> int:
    """Return the primary result code of *error*; -1 when Python raised it by itself."""
    code = getattr(error, "sqlite_errorcode", None)
    return code & 0xFF if isinstance(code, int) else _UNKNOWN


def translated(error: Exception, path: str) -> StoreError:
    """Return *error*, which a call about the file at *path* raised, as one of ours."""
    if isinstance(error, StoreError):
        return error
    if not isinstance(error, sqlite3.Error):
        # A value that SQLite cannot keep: half a surrogate pair, a number above 64 bits.
        return StoreError(f"{path} cannot keep this: {error}", fault=Fault.DATA)
    code = code_of(error)
    if code in LOCKED:
        return StoreError(
            f"{path} is locked by another program",
            way_out="Which one holds a transaction open? Stem itself holds none for long.",
        )
    if code == _FULL:
        return StoreFull(f"{path} has no room: the disk is full", way_out="Free some space.")
    if code in _MISCONFIGURED:
        what, way_out = _MISCONFIGURED[code]
        return StoreMisconfigured(f"{path} {what}", way_out=way_out)
    if isinstance(error, sqlite3.DataError | sqlite3.ProgrammingError | sqlite3.InterfaceError):
        return StoreError(f"{path} cannot keep this: {error}", fault=Fault.DATA)
    if "no such table" in str(error):
        return StoreMisconfigured(
            f"{path} has lost a table of Stem: {error}", way_out="Restore it from a backup."
        )
    return StoreUnavailable(f"{path}: {error}")

"""One connection to a file, set up and looked after.

Rule of this module: it knows pragmas and files, and nothing of messages.
"""

from __future__ import annotations

import os
import sqlite3
import time
from typing import Final, Literal, NamedTuple

from stem_core.embedded.sqlite.errors import LOCKED, code_of
from stem_core.model.errors import StoreMisconfigured, StoreUnavailable

__all__ = ["NotNow", "Place", "begin", "connect", "refuse_another_file"]

_BUSY_MS: Final = 1_000
"""How long one step waits for another program's lock before it says so and is tried again."""

_LOOK_AGAIN_S: Final = 0.005

_OPEN_S: Final = 5.0
"""How long the first opening may wait: eight processes may be making one file."""

_CHECKPOINT_PAGES: Final = 8_000
"""The store writes the log back long before this; large bodies may be quicker."""

_PAGE_BYTES: Final = 2_048
"""Of a new file. A publish writes a few pages to the log whatever is in them: half of SQLite's
usual page makes half of what the disk has to take before a commit returns."""

_CACHE_KIB: Final = 16_384
_CACHED_STATEMENTS: Final = 256


class Place(NamedTuple):
    """Which file a path named when it was opened: its device and inode."""

    device: int
    inode: int

    @classmethod
    def of(cls, path: str) -> Place | None:
        """Return which file *path* names now; None if it names none."""
        try:
            found = os.stat(path)
        except OSError:
            return None
        return cls(found.st_dev, found.st_ino)


def connect(
    path: str, *, durability: Literal["full", "normal"], is_memory: bool
) -> sqlite3.Connection:
    """Open *path* in autocommit mode: transactions are begun and ended by name.

    Raises:
        sqlite3.Error: it cannot be opened; to be translated.
        StoreMisconfigured: it has no write-ahead log.
    """
    connection = sqlite3.connect(
        path,
        timeout=_BUSY_MS / 1000,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=_CACHED_STATEMENTS,
    )
    try:
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")  # that of a file that is stays
        if not is_memory:
            _set_up_log(connection, path, durability)
    except BaseException:
        connection.close()
        raise
    return connection


class NotNow(Exception):
    """Somebody else writes, and the caller does not wait."""


def begin(connection: sqlite3.Connection, *, wait: bool = True) -> None:
    """Begin a write transaction.

    Raises:
        NotNow: somebody else writes, and *wait* is False.
        sqlite3.OperationalError: somebody else writes for longer than one waits.
    """
    until = 0.0
    while True:
        try:
            connection.execute("BEGIN IMMEDIATE")
            return
        except sqlite3.OperationalError as error:
            if code_of(error) not in LOCKED:
                raise
            if not wait:
                raise NotNow from None
            until = until or time.monotonic() + _BUSY_MS / 1000
            if time.monotonic() > until:
                raise
        time.sleep(_LOOK_AGAIN_S)


def _set_up_log(connection: sqlite3.Connection, path: str, durability: str) -> None:
    mode = _log_mode(connection)
    if mode != "wal":
        raise StoreMisconfigured(
            f"{path}: SQLite cannot keep a write-ahead log here (it says {mode!r}), "
            "so several processes cannot use the file",
            way_out="Put the file on an ordinary local disk.",
        )
    connection.execute(f"PRAGMA synchronous = {'FULL' if durability == 'full' else 'NORMAL'}")
    connection.execute("PRAGMA fullfsync = ON")  # without it fsync promises nothing on macOS
    connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
    connection.execute("PRAGMA journal_size_limit = 67108864")


def _log_mode(connection: sqlite3.Connection) -> str:
    """Switch to the write-ahead log. SQLite does not wait for a lock here, so we do."""
    until = time.monotonic() + _OPEN_S
    while True:
        try:
            return str(connection.execute("PRAGMA journal_mode = WAL").fetchone()[0])
        except sqlite3.OperationalError as error:
            if code_of(error) not in LOCKED or time.monotonic() > until:
                raise
            time.sleep(0.01)


def refuse_another_file(path: str, opened: Place | None) -> None:
    """Raise unless *path* still names the file that was opened.

    Raises:
        StoreUnavailable: it is gone, or another file has taken its place.
    """
    now = Place.of(path)
    if now == opened:
        return
    if now is None:
        raise StoreUnavailable(
            f"{path} has been deleted or moved away while it was in use",
            way_out="Put it back; a new, empty one is not made in its place.",
        )
    raise StoreUnavailable(f"{path} has been replaced by another file while it was in use")

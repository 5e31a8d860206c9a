"""The folder: a file for each message, one lock, and a journal for what belongs together.

Rule of this module: it knows files and nothing of what a message goes through. Put your
store here: what it must give is one step at a time, all of it or nothing.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from secrets import token_hex
from typing import TypeVar

import msgspec
from stem_core.plugin import StoreError, StoreFull

from stem_frozen_broker.ledger import Counters, Entry

R = TypeVar("R")

_COUNTERS, _JOURNAL = "counters", "journal"
_Changes = Mapping[str, bytes | None]  # by the name of a file; None: it goes


class Folder:
    """The messages of one namespace."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def step(self, change: Callable[[FileShelf], R]) -> R:
        """Let *change* read and write while nobody else does, and keep all of it or nothing.

        Raises:
            StoreFull: there is no room on the disk.
            StoreError: the folder cannot be read or written.
        """
        try:
            with self._locked() as folder:
                self._finish_what_was_begun(folder)
                shelf = FileShelf(self._path)
                reply = change(shelf)
                self._commit(folder, shelf)
                return reply
        except OSError as error:
            is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            raise (StoreFull if is_full else StoreError)(f"{self._path}: {error}") from error
        except msgspec.DecodeError as error:
            raise StoreError(f"{self._path}: {error}") from error

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """Hold the folder; the operating system lets go for a process that dies."""
        self._path.mkdir(parents=True, exist_ok=True)
        folder = os.open(self._path, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield folder
        finally:
            os.close(folder)

    def _commit(self, folder: int, shelf: FileShelf) -> None:
        # Counters only grow, so a crash after this line leaves a gap and nothing worse.
        if (counters := msgspec.json.encode(shelf.counters)) != shelf.counters_read:
            self._write(_COUNTERS, counters)
        changes = {_name(id): _packed(entry) for id, entry in shelf.changed.items()}
        if len(changes) > 1:
            # Once the journal has its name, whoever comes next finishes what we begin.
            self._write(_JOURNAL, msgspec.json.encode(changes))
            os.fsync(folder)
        self._apply(changes)
        if changes or counters != shelf.counters_read:
            os.fsync(folder)
        if len(changes) > 1:
            (self._path / _JOURNAL).unlink()

    def _finish_what_was_begun(self, folder: int) -> None:
        journal = self._path / _JOURNAL
        if not journal.exists():
            return
        self._apply(msgspec.json.decode(journal.read_bytes(), type=dict[str, bytes | None]))
        os.fsync(folder)
        journal.unlink()

    def _apply(self, changes: _Changes) -> None:
        for name, content in changes.items():
            if content is None:
                (self._path / name).unlink(missing_ok=True)
            else:
                self._write(name, content)

    def _write(self, name: str, content: bytes) -> None:
        """Replace a file so that a power cut leaves the old one or the new one."""
        draft = self._path / "draft"
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._path / name)


class FileShelf:
    """The entries during one step; what is changed is written when the step ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.changed: dict[str, Entry | None] = {}
        self.counters_read = _read(path / _COUNTERS)
        self.counters = (
            msgspec.json.decode(self.counters_read, type=Counters)
            if self.counters_read
            else Counters(store_id=token_hex(8))
        )

    def get(self, id: str) -> Entry | None:
        """Return the entry of *id*."""
        if id in self.changed:
            return self.changed[id]
        content = _read(self._path / _name(id))
        return msgspec.json.decode(content, type=Entry) if content else None

    def every(self) -> Iterator[Entry]:
        """Return all entries that this step has not changed."""
        for path in self._path.glob("*.json"):
            entry = msgspec.json.decode(path.read_bytes(), type=Entry)
            if entry.message.id not in self.changed:
                yield entry

    def put(self, entry: Entry) -> None:
        """Keep *entry*."""
        self.changed[entry.message.id] = entry

    def drop(self, id: str) -> None:
        """Forget the entry of *id*."""
        self.changed[id] = None


def _name(id: str) -> str:
    # An id may be longer than a name of a file, and hold what such a name may not.
    return blake2b(id.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest() + ".json"


def _packed(entry: Entry | None) -> bytes | None:
    return None if entry is None else msgspec.json.encode(entry)


def _read(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""

"""The folder: a file for each task, and one lock.

Rule of this module: it knows files and nothing of results. Put your store here: what it
must give is one step for one id at a time, all of it or nothing.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from secrets import token_hex

import msgspec
from stem_core.plugin import StoreError, StoreFull

from stem_frozen_backend.drawer import Drawer

_STORE_ID = "store-id"


class Folder:
    """The results of one namespace."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextmanager
    def step(self) -> Iterator[None]:
        """Keep everybody else out. Errors of the disk leave as errors of a store.

        Raises:
            StoreFull: there is no room on the disk.
            StoreError: the folder cannot be read or written.
        """
        try:
            self._path.mkdir(parents=True, exist_ok=True)
            folder = os.open(self._path, os.O_RDONLY)
            try:
                fcntl.flock(folder, fcntl.LOCK_EX)
                yield
                os.fsync(folder)
            finally:
                os.close(folder)  # and with it goes the lock
        except OSError as error:
            is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            raise (StoreFull if is_full else StoreError)(f"{self._path}: {error}") from error
        except msgspec.DecodeError as error:
            raise StoreError(f"{self._path}: {error}") from error

    def store_id(self) -> str:
        """Return who this store is; made up by whoever comes first."""
        path = self._path / _STORE_ID
        if not path.exists():
            self._write(path, token_hex(8).encode())
        return path.read_text()

    def get(self, id: str) -> Drawer:
        """Return what is kept for *id*, or an empty drawer."""
        path = self._file(id)
        return _read(path) if path.exists() else Drawer(id)

    def every(self) -> Iterator[Drawer]:
        """Return all drawers, in any order."""
        for path in sorted(self._path.glob("*.json")):
            yield _read(path)

    def put(self, drawer: Drawer) -> None:
        """Keep *drawer*."""
        self._write(self._file(drawer.id), msgspec.json.encode(drawer))

    def drop(self, id: str) -> None:
        """Forget the drawer of *id*."""
        self._file(id).unlink(missing_ok=True)

    def _file(self, id: str) -> Path:
        # An id may be longer than a name of a file, and hold what such a name may not.
        name = blake2b(id.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        return self._path / f"{name}.json"

    def _write(self, path: Path, content: bytes) -> None:
        """Replace a file so that a power cut leaves the old one or the new one."""
        draft = self._path / "draft"
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)


def _read(path: Path) -> Drawer:
    return msgspec.json.decode(path.read_bytes(), type=Drawer)

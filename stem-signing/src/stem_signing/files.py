"""Files that hold keys: read with a look at who else may read them, and written whole.

Rule of this module: no error and no warning repeats what a file holds.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeAlias

from attrs import field, frozen

from stem_core.plugin import ConfigError

__all__ = [
    "KEY_FILE",
    "KeyText",
    "Stamp",
    "alone_with",
    "read_key_file",
    "stamp_of",
    "write_key_file",
]

KEY_FILE: Final = "key file"
"""What `read_key_file` calls the source of a file that `stem keys` makes."""

_LONGEST: Final = 1_048_576

Stamp: TypeAlias = tuple[int, int, int] | None
"""What changes when a file is written or replaced; None for a file that is not there."""


def stamp_of(path: Path) -> Stamp:
    """Return the stamp of the file at *path*, or of what a link there leads to."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return (found.st_ino, found.st_mtime_ns, found.st_size)


@frozen
class KeyText:
    """What stands in a key file, and who may read it there.

    Attributes:
        text: what stands in it.
        path: where it is.
        source: who names it: a variable, or what it is.
        mode: its permissions; 0 for what is no regular file, and has no owner to speak of.
    """

    text: str = field(repr=False)
    path: Path
    source: str
    mode: int

    def keep_private(self, *, strict: bool, report: Callable[[str], None]) -> None:
        """Report a file that others than its owner may open, or refuse it when *strict*.

        Raises:
            ConfigError: strictly, nobody else may.
        """
        if not self.mode & (stat.S_IRWXG | stat.S_IRWXO):
            return
        who = "everybody" if self.mode & stat.S_IRWXO else "its group"
        where = f"{self.source}: {str(self.path)!r}"
        told = f"{where} holds keys, and {who} may open it (mode {self.mode:03o})"
        if strict:
            raise ConfigError(told, way_out=f"chmod 600 {self.path}")
        report(f"{told}; chmod 600 makes it private, and STEM_STRICT=1 refuses it")


def read_key_file(path: Path, source: str) -> KeyText:
    """Return what stands at *path*, which *source* names.

    Raises:
        ConfigError: it cannot be read, is empty, too long, no text, or no file at all.
    """
    where = f"{source}: {str(path)!r}"
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(_LONGEST + 1)
    except IsADirectoryError:
        raise ConfigError(
            f"{where} is a folder, not a file with keys", way_out="Name the file in it."
        ) from None
    except OSError as error:
        raise ConfigError(
            f"{where} cannot be read: {error.strerror}", way_out=_way_to(path, source, error)
        ) from None
    if len(data) > _LONGEST:
        raise ConfigError(f"{where} is too long for a file with keys")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise ConfigError(f"{where} is not UTF-8") from None
    if not text.strip():
        raise ConfigError(f"{where} is empty")
    return KeyText(text, path, source, stat.S_IMODE(mode) if stat.S_ISREG(mode) else 0)


def _way_to(path: Path, source: str, error: OSError) -> str:
    can_be_made = isinstance(error, FileNotFoundError) and source == KEY_FILE
    return f"stem keys generate {path} makes one." if can_be_made else ""


@contextmanager
def alone_with(path: Path) -> Iterator[None]:
    """Keep others who do the same from changing the file at *path* meanwhile.

    Two that change it at once would each read the old file, and the key that one of them
    has added, and that may sign already, would be gone.
    """
    folder = path.resolve().parent
    try:
        handle = os.open(folder, os.O_RDONLY)  # the file itself is replaced by another one
    except OSError as error:
        raise ConfigError(f"{str(folder)!r} cannot be opened: {error.strerror}") from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def write_key_file(path: Path, text: str, *, is_new: bool) -> None:
    """Write *text* to *path* in one step: a new file readable by its owner only, another one
    with the owner and the permissions that it had.

    Who reads meanwhile sees the old file or the new one, never a part.

    Raises:
        ConfigError: it is there already and must be new, or it cannot be written.
    """
    path = path if is_new else path.resolve()  # behind a link, the file itself is replaced
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise _unwritable(path, error) from None
    part = Path(name)
    try:
        with open(handle, "w", encoding="utf-8") as file:  # mkstemp has made it with mode 600
            file.write(text)
            file.flush()
            if not is_new:
                _keep_owner(path, file.fileno())
            os.fsync(file.fileno())
        if is_new:
            os.link(part, path)  # unlike a rename it never replaces what somebody else made
        else:
            os.replace(part, path)
    except FileExistsError:
        raise ConfigError(
            f"{str(path)!r} is there already, and may hold the only copy of a key",
            way_out="`stem keys rotate` adds a key to it.",
        ) from None
    except OSError as error:
        raise _unwritable(path, error) from None
    finally:
        with contextlib.suppress(FileNotFoundError):
            part.unlink()


def _keep_owner(path: Path, handle: int) -> None:
    """Give the file of *handle* the owner and mode of the one at *path*: a service that could
    read its keys must not find a file of the operator's in their place."""
    old, new = os.stat(path), os.fstat(handle)
    if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
        os.fchown(handle, old.st_uid, old.st_gid)
    os.fchmod(handle, stat.S_IMODE(old.st_mode))


def _unwritable(path: Path, error: OSError) -> ConfigError:
    return ConfigError(f"{str(path)!r} cannot be written: {error.strerror}")

"""Which files `stem demo` gives to tasks, and which it leaves out, by name and kind only.

Rule of this module: nothing is opened, and no link is followed: a loop of links
has no end, and reading a pipe waits for ever.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from attrs import field, frozen

__all__ = ["Found", "files_of"]

_LEFT_OUT_FOLDERS: Final = frozenset({"__pycache__", ".git"})


@frozen
class Found:
    """The regular files below a folder, by path.

    Attributes:
        files: relative to the folder, sorted.
        left_out: how many of what was passed over.
    """

    files: tuple[str, ...]
    left_out: Counter[str] = field(factory=Counter)


def files_of(folder: Path) -> Found:
    """Find every regular file below *folder*; links and special files are counted only."""
    left_out: Counter[str] = Counter()
    files = sorted(_walk(folder, left_out))
    return Found(tuple(files), +left_out)  # plus drops what counts zero


def _walk(folder: Path, left_out: Counter[str]) -> Iterator[str]:
    def unreadable(_: OSError) -> None:
        left_out["unreadable folder"] += 1

    for place, folders, names in os.walk(folder, onerror=unreadable):
        left_out["link"] += sum(os.path.islink(os.path.join(place, each)) for each in folders)
        left_out["cache folder"] += len(_LEFT_OUT_FOLDERS.intersection(folders))
        folders[:] = sorted(set(folders) - _LEFT_OUT_FOLDERS)
        for name in names:
            path = os.path.join(place, name)
            why = _why_not(path)
            if why:
                left_out[why] += 1
            else:
                yield os.path.relpath(path, folder)


def _why_not(path: str) -> str:
    """Say what *path* is instead of a regular file whose name can travel; empty if it is one."""
    try:
        mode = os.lstat(path).st_mode
        path.encode()
    except UnicodeEncodeError:
        return "non-UTF-8 name"
    except OSError:
        return "vanished file"
    if stat.S_ISLNK(mode):
        return "link"
    return "" if stat.S_ISREG(mode) else "special file"

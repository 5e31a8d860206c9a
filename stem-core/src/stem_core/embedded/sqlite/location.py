"""Where a store is: from a URL to a file that can be used, or the reason why not.

Rule of this module: it looks at names and folders, and opens nothing.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from attrs import frozen

from stem_core.model.errors import ConfigError, InvalidURL, StoreMisconfigured
from stem_core.model.urls import StemURL

__all__ = ["MEMORY", "Location", "location_of", "network_kind"]

MEMORY: Final = ":memory:"
_BESIDE: Final = ("-wal", "-shm", "-journal", "-turn")

_NETWORK: Final = frozenset(
    {
        *("9p", "afs", "beegfs", "ceph", "cifs", "coda", "glusterfs", "gpfs", "lustre", "ncpfs"),
        *("nfs", "nfs4", "ocfs2", "orangefs", "smb2", "smb3", "smbfs", "vboxsf"),
        *("fuse.ceph", "fuse.glusterfs", "fuse.rclone", "fuse.s3fs", "fuse.sshfs"),
        *("fuse.gcsfuse", "fuse.juicefs", "fuse.vmhgfs-fuse", "vmhgfs"),
    }
)
"""Where several machines, or a machine and its guest, see one file but not one memory."""

_FORM: Final = (
    "Write sqlite:///tasks.db for a file in the working directory, "
    "sqlite:////var/lib/shop/tasks.db for an absolute path."
)


@frozen
class Location:
    """One place of tasks.

    Attributes:
        path: absolute and without links; `MEMORY` for a store of this process alone.
        note: what an operator should know of it at start; may be empty.
    """

    path: str
    note: str = ""

    @property
    def is_memory(self) -> bool:
        """True when there is no file."""
        return self.path == MEMORY


def location_of(url: StemURL) -> Location:
    """Return where *url* leads.

    Raises:
        InvalidURL: it says what a file has no use for.
        StoreMisconfigured: there can be no such file.
    """
    shown = url.redacted()
    if url.hosts and not url.path and not url.username:
        raise InvalidURL(
            f"{shown} has two slashes, so {url.netloc!r} would be a host",
            way_out=f"Did you mean sqlite:///{url.netloc}? {_FORM}",
        )
    if url.hosts or url.username or url.password is not None:
        raise InvalidURL(f"{shown} names a user or a host, and a file has neither", way_out=_FORM)
    if url.path in ("", "/"):
        if url.path == "/":
            raise InvalidURL(f"{shown} names no file", way_out=_FORM)
        return Location(MEMORY, _IN_MEMORY)
    written = url.path[1:]
    path = os.path.realpath(written)
    _refuse_unusable(path)
    return Location(path, "" if os.path.isabs(written) else f"{shown} is the file {path}")


_IN_MEMORY: Final = (
    "sqlite:// without a path lives in the memory of this process only: another process cannot "
    "see it, and it ends with this one"
)


def _refuse_unusable(path: str) -> None:
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        raise StoreMisconfigured(
            f"{path} cannot be made: there is no folder {folder}", way_out="Make the folder first."
        )
    if path.endswith(_BESIDE):
        raise StoreMisconfigured(
            f"{path} is the name of a file that SQLite or Stem keeps beside a database",
            way_out="Name the database itself.",
        )
    if os.path.isdir(path):
        raise StoreMisconfigured(f"{path} is a folder, not a file", way_out=_FORM)
    if os.path.exists(path) and not os.path.isfile(path):
        raise StoreMisconfigured(f"{path} is not a regular file", way_out=_FORM)
    if kind := network_kind(path, _mounts()):
        raise StoreMisconfigured(
            f"{path} is on a network file system ({kind}), where SQLite's locks and shared memory "
            "cannot be trusted and tasks would be lost",
            way_out="Put the file on a local disk, or choose redis:// or postgresql:// "
            "to share tasks between machines.",
        )


def _mounts() -> str:
    """Return the kernel's list of mounts; empty where there is none."""
    try:
        return Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape")
    except OSError:
        return ""


def network_kind(path: str, mounts: str) -> str:
    """Return the kind of network file system that *path* is on; empty if it is local.

    *mounts* is the text of ``/proc/self/mountinfo``, see proc_pid_mountinfo(5).
    """
    best, kind = "", ""
    for line in mounts.splitlines():
        before, dash, after = line.partition(" - ")
        fields = before.split(" ")
        if not dash or len(fields) < 5:
            continue
        point = _unescaped(fields[4])
        if len(point) >= len(best) and _is_below(path, point):
            best, kind = point, after.split(" ", 1)[0]
    return kind if kind in _NETWORK else ""


def _is_below(path: str, point: str) -> bool:
    return path == point or path.startswith(point.rstrip("/") + "/")


def _unescaped(text: str) -> str:
    for code, letter in (("040", " "), ("011", "\t"), ("012", "\n"), ("134", "\\")):
        text = text.replace(f"\\{code}", letter)
    return text


def refuse_tls(is_enabled: bool) -> None:
    """Raise if there are TLS settings: there is no connection to encrypt."""
    if is_enabled:
        raise ConfigError(
            "sqlite:// has no connection to encrypt, and TLS settings are given",
            way_out="Remove STEM_TLS_*, or choose a store that is reached over a network.",
        )

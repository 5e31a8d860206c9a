"""Become a program that dies with its owner: ``launcher.py OWNER UID GID PROGRAM [ARGUMENT]…``.

A step of its own between the owner and the program, because what it does may not be done
between fork and exec of a process with threads. OWNER is the pid that started it, UID and GID
are numbers, or ``-`` to stay who one is. Where the kernel is not Linux, nobody dies with anybody.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def become(owner: int, uid: str, gid: str, words: list[str]) -> None:
    """Replace this process by the program that *words* call."""
    if uid != "-":
        os.setgroups([])
        os.setgid(int(gid))
        os.setuid(int(uid))
    if sys.platform == "linux":  # after the change of user, which would undo it
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != owner:
            sys.exit(f"the owner, {owner}, was gone before {words[0]} began")
    try:
        os.execv(words[0], words)
    except OSError as error:
        sys.exit(f"{words[0]}: {error.strerror}")


if __name__ == "__main__":
    become(int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4:])

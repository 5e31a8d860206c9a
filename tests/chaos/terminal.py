"""A terminal that a worker runs in: what is typed there reaches all processes in its foreground."""

from __future__ import annotations

import fcntl
import os
import pty
import sys
import termios

INTERRUPT = b"\x03"
"""What Ctrl-C types."""


class Terminal:
    """A terminal, and the words that start a program in it."""

    def __init__(self) -> None:
        self._ours, self._theirs = pty.openpty()
        self.name = os.ttyname(self._theirs)

    def press_ctrl_c(self) -> None:
        """Let the terminal send its signal."""
        os.write(self._ours, INTERRUPT)

    def close(self) -> None:
        """Take it away."""
        os.close(self._ours)
        os.close(self._theirs)


def main(name: str, *words: str) -> None:
    """Lead a session whose terminal is *name*, and become the program of *words*."""
    os.setsid()
    terminal = os.open(name, os.O_RDWR)
    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
    os.execv(sys.executable, [sys.executable, "-m", *words])


if __name__ == "__main__":
    main(*sys.argv[1:])

"""The program that outlives a worker by a moment: ``watchman.py``, told of process groups.

It reads ``+GROUP`` and ``-GROUP``, a line each, and when its input ends, because the worker
has, however that went, it kills the groups that are left. A child that sees the end of its
worker kills its own group; but a child that the kernel kills together with the worker, or one
whose task never lets go of the interpreter, cannot. Rule of this file: it imports nothing of
Stem and runs without site-packages, for it shall start in no time and weigh next to nothing.
"""

import contextlib
import os
import signal
import sys


def main() -> None:
    """Keep count until there is nobody left to count for."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin:
        group = int(line[1:])
        if line[0] == "+":
            groups.add(group)
        else:
            groups.discard(group)
    for group in groups:
        with contextlib.suppress(OSError):  # it is gone already
            os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    main()

"""One of the processes of a supervised worker: ``python -m stem_core.cli.child FD SLOT ARG...``.

It runs the `stem` program with these arguments, tied to who has started it. Nobody else
has a reason to call it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from stem_core.cli.program import run
from stem_core.worker.tie import Tie

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Run the program, tied by the socket and the number that come first; return its exit code."""
    fd, slot, *own = arguments
    sys.argv = ["stem", *own]
    return run(own, tie=Tie(int(fd), int(slot)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

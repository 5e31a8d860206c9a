"""The `stem` program: a thin shell over the other rooms.

Rule of this room: importing it, and asking for help, imports click and nothing
else of weight. Each command lives in a module of its own that is imported when
the command runs.
"""

from __future__ import annotations

import gc
from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program with *arguments* (`sys.argv` by default); return its exit code."""
    if arguments is not None:
        from stem_core.cli.program import run

        return run(arguments)
    # This process is the program. What its imports make stays: a collection while it
    # starts, and the last one of all at its end, find nothing and are a sixth of what
    # a `--help` takes.
    gc.disable()
    from stem_core.cli.program import run

    gc.enable()
    try:
        return run()
    finally:
        gc.freeze()

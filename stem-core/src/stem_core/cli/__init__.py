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
    # This process is the program. What these imports make stays: collections that look
    # at it, while it starts and at the very end, are a sixth of what a `--help` takes.
    is_wanted = gc.isenabled()
    gc.disable()
    from stem_core.cli.program import run

    gc.freeze()
    if is_wanted:
        gc.enable()
    return run()

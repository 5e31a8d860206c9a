"""The `stem` program: a thin shell over the other rooms.

Rule of this room: importing it, and asking for help, imports click and nothing
else of weight. Each command lives in a module of its own that is imported when
the command runs.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program with *arguments* (`sys.argv` by default); return its exit code."""
    from stem_core.cli.program import run

    return run(arguments)

"""How a worker's life can end, as exit codes for its process, and how long that may take."""

from __future__ import annotations

from typing import Final

__all__ = ["CUT_OFF", "DRAINED", "GAVE_UP", "HANDED_BACK", "MARGIN_MS", "PATIENCE_MS", "STUCK"]

DRAINED: Final = 0
"""It was told to stop, and everything that ran has finished."""

CUT_OFF: Final = 5
"""It could not poll its broker for longer than it may."""

GAVE_UP: Final = 69
"""The supervisor of several processes gave up: none of them came up, time after time."""

STUCK: Final = 70
"""A task would not end, or the last of many signals did not wait for it. What was not handed
back is run again when its lease has lapsed; a supervisor should start another worker."""

HANDED_BACK: Final = 75
"""It was told to stop, and unfinished tasks were handed back for other workers."""

MARGIN_MS: Final = 15_000
"""How long after its grace a worker may take to end: to cancel what runs, to settle it at a
slow store, and to close. After that it is killed, if anybody supervises it."""

PATIENCE_MS: Final = 5_000
"""How long a task, or a loop, that was told to end may take before it counts as stuck."""

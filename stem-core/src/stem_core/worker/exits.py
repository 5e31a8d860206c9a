"""How a worker's life can end, as exit codes for its process."""

from __future__ import annotations

from typing import Final

__all__ = ["DRAINED", "HANDED_BACK", "STUCK"]

DRAINED: Final = 0
"""It was told to stop, and everything that ran has finished."""

STUCK: Final = 70
"""A task would not end. The rest was handed back; a supervisor should start another worker."""

HANDED_BACK: Final = 75
"""It was told to stop, and unfinished tasks were handed back for other workers."""

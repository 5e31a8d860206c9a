"""Where a loop, a thread or a task stands, for people who ask why it does not end.

Rule of this module: it looks and changes nothing. What it sees of another thread may be
over by the time it is read.
"""

from __future__ import annotations

import asyncio
import sys
import traceback
from collections.abc import Iterator
from itertools import dropwhile
from pathlib import Path
from traceback import FrameSummary
from types import FrameType
from typing import Any, Final

from stem_core.worker.run import Run
from stem_core.worker.runner import Runner

__all__ = ["frame_of", "run_in", "stack_of", "stands_at"]

_HERE: Final = str(Path(__file__).parent)
_MOST_FRAMES: Final = 20


def frame_of(thread: int | None) -> FrameType | None:
    """Return the innermost frame of *thread*; None when it has ended."""
    return None if thread is None else sys._current_frames().get(thread)


def run_in(frame: FrameType | None) -> Run | None:
    """Return the run whose step *frame* belongs to; None when it is none of a worker's.

    Found by the stack: a task that is started eagerly is known to nobody else yet, and
    its loop can say who runs only from within.
    """
    for each in _outwards(frame):
        if each.f_code is Runner.run.__code__:
            run = each.f_locals.get("run")
            return run if isinstance(run, Run) else None
    return None


def stack_of(frame: FrameType | None) -> str:
    """Return the stack that ends in *frame*, from the task's function on where it has one."""
    if frame is None:
        return ""
    return _told([FrameSummary(*each) for each in _lines(frame)][::-1])


def stands_at(run: Run) -> str:
    """Return where the function of *run* stands; empty when that cannot be seen."""
    if run.call is not None:
        return stack_of(frame_of(run.call.thread))
    carrier = run.carrier
    if carrier is None or carrier.done():
        return ""
    return _told([FrameSummary(*_line(frame)) for frame in _awaited(carrier)])


def _told(summaries: list[FrameSummary]) -> str:
    # What is outside of the task's function is Stem and asyncio, and the same every time.
    inner = list(dropwhile(_is_outside, _after_ours(summaries))) or summaries
    return "".join(traceback.format_list(inner[-_MOST_FRAMES:]))


def _after_ours(summaries: list[FrameSummary]) -> list[FrameSummary]:
    ours = [place for place, each in enumerate(summaries) if each.filename.startswith(_HERE)]
    return summaries[ours[-1] + 1 :] if ours else summaries


def _is_outside(summary: FrameSummary) -> bool:
    return summary.filename.startswith(str(Path(asyncio.__file__).parent))


def _outwards(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _lines(frame: FrameType) -> Iterator[tuple[str, int, str]]:
    return (_line(each) for each in _outwards(frame))


def _line(frame: FrameType) -> tuple[str, int, str]:
    return frame.f_code.co_filename, frame.f_lineno or 0, frame.f_code.co_name


def _awaited(carrier: asyncio.Task[None]) -> list[FrameType]:
    """Return the frames of *carrier*, outermost first, through all that it awaits."""
    found: list[FrameType] = []
    awaits: Any = carrier.get_coro()
    while awaits is not None:
        frame = getattr(awaits, "cr_frame", None) or getattr(awaits, "gi_frame", None)
        if frame is None:
            break
        found.append(frame)
        awaits = getattr(awaits, "cr_await", None) or getattr(awaits, "gi_yieldfrom", None)
    return found

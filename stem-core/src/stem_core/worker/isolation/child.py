"""The main program of a child: load the application, then run one task after the other.

Rule of this module: it ends when the worker says so or is no more, whatever a task does.
"""

from __future__ import annotations

import gc
import logging
import queue
import socket
import traceback
from typing import Final

from stem_core.contracts.capabilities import Capabilities
from stem_core.model.errors import StemError, UsageError
from stem_core.worker.isolation.attempt import Bench
from stem_core.worker.isolation.birth import end_with_all, stand_apart
from stem_core.worker.isolation.link import Link
from stem_core.worker.isolation.logs import log_through
from stem_core.worker.isolation.terms import App
from stem_core.worker.isolation.wire import (
    End,
    Frame,
    Mark,
    Ready,
    Rules,
    Start,
    Stillborn,
    Stop,
    TellSoft,
)
from stem_core.worker.outcomes import Cause

__all__ = ["main"]

_APART: Final = UsageError(
    "the broker of this worker lives in its process, and this task runs in another one",
    way_out="Enqueue with ctx.enqueue(…), whose messages go through the worker; or use a broker "
    "that processes share, such as sqlite:///tasks.db.",
)


def main(
    end: socket.socket, mark: Mark, app: App, rules: Rules, capabilities: Capabilities
) -> None:
    """Run tasks for the worker at the other *end*; note in *mark* which one is begun."""
    stand_apart()
    link = Link(end)
    log_through(link, rules.log_level)
    child = _Child(link)
    link.listen(child.hear, end_with_all)
    try:
        stem = app()
        stem.pipeline.serve(capabilities)
        if not capabilities.multiprocess:
            stem.cut_off(_APART)
        child.bench = bench = Bench(stem, rules, link, mark)
    except (Exception, SystemExit) as error:
        link.send(Stillborn(_why(error)))
        return
    log_through(link, rules.log_level)  # the application has set up a log of its own, perhaps
    gc.freeze()  # what was imported stays
    link.send(Ready(frozenset(stem.registry.names())))
    child.work(bench)


class _Child:
    """Hands what the worker says, which comes in a thread, to the main thread or the task."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._starts: queue.SimpleQueue[Start | None] = queue.SimpleQueue()
        self.bench: Bench | None = None

    def hear(self, frame: Frame) -> bool:
        """Do what the worker says; False when it will say no more."""
        match frame:
            case Start():
                self._starts.put(frame)
            case TellSoft(serial) if self.bench is not None:
                self.bench.interrupting.soften(serial)
            case End(serial, cause, reason) if self.bench is not None:
                self.bench.interrupting.end(serial, Cause[cause], reason)
            case Stop():
                self._starts.put(None)
            case _:  # of a task that never began
                pass
        return True

    def work(self, bench: Bench) -> None:
        """Run one task after the other until there shall be no more."""
        while (start := self._starts.get()) is not None:
            self._link.send(bench.run(start))
            del start  # a child that waits holds nothing of its last task
        bench.close()


def _why(error: BaseException) -> str:
    if isinstance(error, StemError):
        return str(error)
    logging.getLogger("stem.worker").debug("a child could not load", exc_info=error)
    return "".join(traceback.format_exception(error, limit=-3)).strip()

"""Lines of the log that show where something stands."""

from __future__ import annotations

import logging

__all__ = ["log_with_stack"]

_log = logging.getLogger("stem.worker")


def log_with_stack(level: int, text: str, stack: str, **facts: object) -> None:
    """Log *text* with a *stack* of another thread or task below it, and *facts* for programs.

    Formatters of the standard library show it as a stack, those of Stem as a traceback.
    """
    if not _log.isEnabledFor(level):
        return
    extra = {"stem_facts": facts, "stem_trace": stack} if facts else {"stem_trace": stack}
    record = _log.makeRecord(
        _log.name, level, __file__, 0, "%s", (text,), None, extra=extra, sinfo=stack or None
    )
    _log.handle(record)

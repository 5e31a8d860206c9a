"""What the `stem` program's exit codes mean, and which error leads to which.

Rule of this module: a number is promised here or nowhere. Scripts rely on them.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from stem_core.model.errors import (
    ConfigError,
    EnqueueError,
    IdConflict,
    NoResultBackend,
    PluginError,
    PublishRefused,
    ResultExpired,
    ResultTimeout,
    StemError,
    StoreError,
    UnknownTask,
)

__all__ = ["MEANINGS", "ExitCode", "exit_code_of"]


class ExitCode(IntEnum):
    """How a command ended."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    CONFIG = 4
    UNREACHABLE = 5
    TIMED_OUT = 6
    GAVE_UP = 69
    STUCK = 70
    HANDED_BACK = 75
    INTERRUPTED = 130


MEANINGS: Final = {
    ExitCode.OK: "all is well; a worker that drained after a signal too",
    ExitCode.FAILED: "the task failed, the broker refused the message, a check did not pass, "
    "or not all that was asked for could be done",
    ExitCode.USAGE: "the command line, or an argument of the task, is wrong",
    ExitCode.NOT_FOUND: "no task or dead letter of that id, or no task of that name",
    ExitCode.CONFIG: "a setting, a URL, APP or a plugin is wrong or missing; nothing was started",
    ExitCode.UNREACHABLE: "the broker or the backend cannot be reached or cannot do its work; "
    "a worker that could not poll for too long",
    ExitCode.TIMED_OUT: "no result yet; the task goes on",
    ExitCode.GAVE_UP: "no process of the worker came up, five times in a row: it gave up",
    ExitCode.STUCK: "a task would not end, or blocked the event loop for good: the worker left it, "
    "and its supervisor starts another; or a third signal did not wait for it",
    ExitCode.HANDED_BACK: "the worker stopped and handed unfinished tasks back",
    ExitCode.INTERRUPTED: "stopped by Ctrl-C",
}

# The first match decides, so members stand before their families.
_CODES: Final[tuple[tuple[type[StemError], ExitCode], ...]] = (
    (ConfigError, ExitCode.CONFIG),
    (PluginError, ExitCode.CONFIG),
    (NoResultBackend, ExitCode.CONFIG),
    (StoreError, ExitCode.UNREACHABLE),
    (ResultTimeout, ExitCode.TIMED_OUT),
    (ResultExpired, ExitCode.NOT_FOUND),
    (UnknownTask, ExitCode.NOT_FOUND),
    (PublishRefused, ExitCode.FAILED),
    (IdConflict, ExitCode.FAILED),
    (EnqueueError, ExitCode.USAGE),
)


def exit_code_of(error: StemError) -> ExitCode:
    """Return the code with which the program ends because of *error*."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), ExitCode.FAILED)

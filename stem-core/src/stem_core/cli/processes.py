"""`stem worker --processes N`: a parent that loads no application, and N that do.

Rule of this module: how processes are called and what people see of them. Who lives and
who dies is `worker.supervision`, and how they are kept `worker.supervisor`.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import random
from typing import Final, NoReturn

from stem_core.cli.banner import show_banner
from stem_core.cli.exits import ExitCode
from stem_core.cli.gathering import Gathering
from stem_core.cli.logs import log_as, log_as_expected
from stem_core.cli.reloading import SourceWatch
from stem_core.model.errors import ConfigError
from stem_core.worker.service import Service
from stem_core.worker.supervision import Crew, GiveUp
from stem_core.worker.supervisor import Supervisor
from stem_core.worker.tie import Hello

__all__ = ["become_supervisor", "interpreter_options", "supervise"]

_HOPELESS: Final = frozenset({ExitCode.USAGE, ExitCode.NOT_FOUND, ExitCode.CONFIG})
_OUTAGE: Final = frozenset({ExitCode.UNREACHABLE})

_MODULE_OR_CODE: Final = re.compile("(-[bBdEiIOPqsSuvx]*)[mc]")
"""``-m`` or ``-c``, perhaps with other options in front, as in ``-Im``."""


def supervise(
    count: int | None,
    arguments: Sequence[str],
    *,
    name: str | None,
    reload: bool = False,
    log_level: str | None,
    log_format: str | None,
) -> int:
    """Run *count* workers of the command line *arguments*; return the exit code of them all.

    With *reload* they begin anew when a file changes, and without a *count* there are as many
    as the environment says.
    """
    _check_system()
    log_as_expected(log_level, log_format)
    count = count or _count_of(os.environ)
    crew = Crew(count, hopeless=_HOPELESS, outage=_OUTAGE, roll=random, reloads=reload)
    gathering = Gathering(lambda with_queues: supervisor.ask(with_queues=with_queues))
    supervisor = Supervisor(
        crew,
        _command(arguments),
        now_ms=lambda: time.monotonic_ns() // 1_000_000,
        greeted=_Reception(count, name, gathering),
        reader=gathering,
        service=Service.of(os.environ),
    )
    watch = SourceWatch(Path.cwd(), supervisor.changed) if reload else None
    try:
        if watch is not None:
            watch.start()
        return supervisor.run()
    finally:
        if watch is not None:
            watch.stop()
        gathering.close()


def _count_of(environment: Mapping[str, str]) -> int:
    """Return how many processes there are to be where no option says so; an application that
    says so in code is not loaded here, and is told of by its processes."""
    text = environment.get("STEM_WORKER_PROCESSES", "")
    return int(text) if text.isdecimal() and int(text) > 0 else 1


def become_supervisor(
    count: int, arguments: Sequence[str], max_tasks: int | None, max_rss: int | None
) -> NoReturn:
    """Begin this process anew, as one that supervises *count* workers of *arguments*, which
    are replaced at the limits that the application has.

    For one that had to load its application to learn how many it asks for: so it is rid of
    all that the application has opened.
    """
    _check_system()
    sys.stdout.flush()
    sys.stderr.flush()
    limits = [f"--max-tasks={max_tasks}"] if max_tasks else []
    limits += [f"--max-rss={-(-max_rss // 1024)}K"] if max_rss else []
    # What stands on the command line comes last, and wins.
    again = ["stem_core", "worker", "--processes", str(count), *limits, *arguments]
    os.execv(sys.executable, [sys.executable, *_options(), "-m", *again])


class _Reception:
    """Shows what the first process says of itself, as what is true of all of them."""

    def __init__(self, count: int, name: str | None, gathering: Gathering) -> None:
        self._count = count
        self._name = name
        self._gathering = gathering
        self._is_first = True

    def __call__(self, hello: Hello) -> GiveUp | None:
        if not self._is_first:
            return None
        self._is_first = False
        form = log_as(hello.log_level, hello.log_format)
        shows: dict[str, str] = {}
        if hello.http:
            try:
                shows["http"] = self._gathering.answer_at(hello.http).url
            except ConfigError as error:
                return GiveUp(ExitCode.CONFIG, str(error))
        if form == "text":
            show_banner({**hello.facts, **self._facts(hello), **shows})
        return None

    def _facts(self, hello: Hello) -> dict[str, str]:
        names = f"{self._name}-1 to {self._name}-{self._count}, " if self._name else ""
        times = f" × {self._count} processes" if self._count > 1 else ""
        return {
            "queues": hello.facts["queues"] + times,
            "worker": f"{names}supervised by pid {os.getpid()}",
        }


# ── how a process is called ──────────────────────────────────────────────────


def _command(arguments: Sequence[str]) -> Callable[[int, int], Sequence[str]]:
    start = [sys.executable, *_options(), "-m", "stem_core.cli.child"]

    def command(slot: int, fd: int) -> Sequence[str]:
        return [*start, str(fd), str(slot), "worker", *arguments]

    return command


def _options() -> Sequence[str]:
    return interpreter_options(sys.orig_argv, sys.argv)


def interpreter_options(originally: Sequence[str], arguments: Sequence[str]) -> Sequence[str]:
    """Return the options of the interpreter that was called *originally*, for another one.

    A program that is a file has no working directory on its path until Stem puts it there,
    so there a module of the user cannot stand in for one of the standard library. Called
    by ``-m`` it would have, unless it is told not to.
    """
    own = list(arguments[1:])
    count = len(originally) - len(own)
    if originally[count:] != own:  # somebody has changed them
        return []
    before = list(originally[1:count])
    called = _MODULE_OR_CODE.fullmatch(before[-2]) if len(before) > 1 else None
    if called is None:
        return [*before[:-1], "-P"]
    return [*before[:-2], *([called[1]] if len(called[1]) > 1 else [])]


def _check_system() -> None:
    if os.name != "posix":
        raise ConfigError(
            "this system cannot hand a socket to a new process, so there is no supervisor here",
            way_out="Start as many workers as you need, each with --processes 1.",
        )

"""The application of tasks that harm what runs them. Workers import it, and their children.

Each way to do harm is a function with a name; which one, how long and in what is said by the
call. What a dying process has to tell is in the history before it dies.
"""

from __future__ import annotations

import asyncio
import ctypes
import fcntl
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Never

from chaos.app import is_there, pen, stem
from chaos.names import BARREN, BIRTHS, FAMILY, NEW, RAISING

from stem_core.contracts.observer import Event
from stem_core.model.retry import RetryPolicy
from stem_core.plugin import AppInfo, Observer, hookimpl
from stem_core.producer.client import Stem
from stem_core.producer.context import TaskContext
from stem_core.testing.faults.history import What

__all__ = ["PERILS", "make", "stem"]

_AT_ONCE = RetryPolicy(base=0, cap=0)
_FOR_EVER_S = 600
_BITE = 4 << 20
_HUGE = 10 << 20


def make() -> Stem:
    """Return the application, in a process that has imported nothing yet."""
    return stem


@contextmanager
def noted(ctx: TaskContext) -> Iterator[None]:
    """Write down that a function was called, and that it came to an end by itself."""
    pen.note(What.STARTED, id=ctx.id, fence=ctx.fence, attempt=ctx.attempt)
    try:
        yield
    finally:
        pen.note(What.ENDED, id=ctx.id, fence=ctx.fence, attempt=ctx.attempt)


# ── deaths ───────────────────────────────────────────────────────────────────


def segfault() -> None:
    """Read where nothing is."""
    pen.note(What.KILLED)
    ctypes.string_at(0)


def abort() -> None:
    """Do as a library does that has lost its way."""
    pen.note(What.KILLED)
    os.abort()


def kill() -> None:
    """Do as the system does that has no more memory."""
    pen.note(What.KILLED)
    os.kill(os.getpid(), signal.SIGKILL)


def eat() -> Never:
    """Hold more and more memory, until somebody ends this process for it."""
    held = []
    while True:
        held.append(b"\1" * _BITE)
        time.sleep(0.005)


def eat_up() -> None:
    """Hold more memory than the system lets this process have."""
    import resource

    limits = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * os.sysconf("SC_PAGESIZE") + 16 * _BITE
    resource.setrlimit(resource.RLIMIT_AS, (most, limits[1]))
    try:
        eat()
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


# ── tasks that do not end ────────────────────────────────────────────────────


def sleeps() -> None:
    """Wait for what never comes."""
    time.sleep(_FOR_EVER_S)


def turns_a_deaf_ear() -> Never:
    """Go on whatever is raised here."""
    while True:
        try:
            time.sleep(0.01)
        except BaseException:
            continue


def cleans_up_for_ever() -> None:
    """Be told of a soft limit, and never come to the end of the `finally`."""
    try:
        time.sleep(_FOR_EVER_S)
    finally:
        turns_a_deaf_ear()


def holds_the_interpreter() -> None:
    """Let no other thread of this process run: one call of a function in C."""
    re.fullmatch("(a+)+b", "a" * 64)


def holds_a_lock() -> None:
    """Hold a lock that others of this machine want, and wait for one that nobody gives."""
    lock = threading.Lock()
    with open("lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        lock.acquire()
        lock.acquire()


def has_a_family() -> None:
    """Start a program that starts another one, and a thread that never ends."""
    shell = subprocess.Popen(["sh", "-c", "sleep 600 & echo $!; wait"], stdout=subprocess.PIPE)
    assert shell.stdout is not None
    grandchild = int(shell.stdout.readline())
    threading.Thread(target=turns_a_deaf_ear, daemon=True).start()
    with open(FAMILY, "a") as file:
        file.write(f"{shell.pid}\n{grandchild}\n")
    time.sleep(_FOR_EVER_S)


# ── errors that cannot be kept as they are ───────────────────────────────────


class Rude(BaseException):
    """One that `except Exception` does not catch."""


class Endless(Exception):
    """One whose text never ends."""

    def __repr__(self) -> str:
        return repr([self])

    __str__ = __repr__


def unpicklable() -> Never:
    """Raise what cannot leave its process."""

    class Local(ValueError):
        pass

    raise Local("not to be pickled", lambda: None)


def huge() -> Never:
    """Raise what has a very long text."""
    raise ValueError("x" * _HUGE)


def recursive() -> Never:
    """Raise what cannot be shown."""
    raise Endless


def rude() -> Never:
    """Raise what is no `Exception`."""
    raise Rude("out of the way")


def interrupts() -> Never:
    """Raise what Ctrl-C raises."""
    raise KeyboardInterrupt


def exits() -> Never:
    """Raise what `sys.exit` raises."""
    sys.exit("enough")


PERILS: dict[str, Callable[[], None]] = {
    function.__name__: function
    for function in (
        segfault, abort, kill, eat, eat_up, sleeps, turns_a_deaf_ear, cleans_up_for_ever,
        holds_the_interpreter, holds_a_lock, has_a_family, unpicklable, huge, recursive, rude,
        interrupts, exits,
    )
}  # fmt: skip


@stem.task(name="chaos.peril", context=True, retry_policy=_AT_ONCE)
def peril(ctx: TaskContext, how: str) -> None:
    """Do what is called *how*, in a thread or in a process."""
    with noted(ctx):
        PERILS[how]()


@stem.task(name="chaos.orphan", context=True, isolation="process")
def orphan(ctx: TaskContext, how: str) -> int:
    """Do what is called *how* the first time that this runs, and end at once after that."""
    with noted(ctx):
        before = Path(f"orphan-{ctx.id}")
        if not before.exists():
            before.touch()
            PERILS[how]()
    return ctx.fence


def blocks(seconds: float, until: str) -> None:
    """Let this thread stand still, which may be that of a loop."""
    time.sleep(seconds)
    while until and not is_there(until):
        time.sleep(0.01)


@stem.task(name="chaos.loop_peril", context=True, retry_policy=_AT_ONCE)
async def loop_peril(ctx: TaskContext, how: str, seconds: float = 0, until: str = "") -> None:
    """Do what is called *how* in the worker's own loop, or in the loop of a child."""
    with noted(ctx):
        match how:
            case "blocks":
                blocks(seconds, until)
            case "waits":
                await asyncio.sleep(_FOR_EVER_S)
            case "ignores":
                await _ignores_the_end()
            case _:
                PERILS[how]()


async def _ignores_the_end() -> Never:
    while True:
        try:
            await asyncio.sleep(0.01)
        except BaseException:
            continue


@stem.task(name="chaos.kills_all", context=True, retry_policy=_AT_ONCE)
async def kills_all(ctx: TaskContext, beside: int) -> None:
    """Wait until *beside* others run in this worker, if they ever do, and end its process."""
    with noted(ctx):
        for _ in range(100):
            if len(_BESIDE) >= beside:
                break
            await asyncio.sleep(0.01)
        kill()


_BESIDE: set[str] = set()


@stem.task(name="chaos.innocent", context=True, retry_policy=_AT_ONCE)
async def innocent(ctx: TaskContext, pause_ms: int) -> int:
    """Run beside whoever is there."""
    with noted(ctx):
        _BESIDE.add(ctx.id)
        try:
            await asyncio.sleep(pause_ms / 1000)
        finally:
            _BESIDE.discard(ctx.id)
    return ctx.fence


@stem.task(name="chaos.short", context=True, retry_policy=_AT_ONCE)
def short(
    ctx: TaskContext, pause_ms: int = 0, until: str | None = None, wants_the_lock: bool = False
) -> int:
    """Be a neighbour, in a thread or in a process."""
    with noted(ctx):
        time.sleep(pause_ms / 1000)
        while until is not None and not is_there(until):
            time.sleep(0.01)
        if wants_the_lock:
            with open("lock", "w") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
    return ctx.fence


if os.environ.get(NEW):

    @stem.task(name="chaos.new", context=True)
    async def new(ctx: TaskContext) -> int:
        """Be known to new workers alone."""
        with noted(ctx):
            return ctx.fence


def is_a_child() -> bool:
    """Say whether this process is a worker's child."""
    import multiprocessing

    return multiprocessing.parent_process() is not None


if is_a_child():
    with open(BIRTHS, "a") as births:
        births.write(f"{os.getpid()}\n")
    if Path(BARREN).exists():
        raise RuntimeError("this application cannot be imported now")


# ── observers that fail ────────────────────────────────────────────────────────


class Raising:
    """A plugin whose observer fails whenever it is told of something."""

    STEM_PLUGIN_API = (1, 0)

    @hookimpl
    def stem_observers(self, app: AppInfo) -> Sequence[Observer]:
        """Watch workers."""
        return [self] if app.role == "worker" else []

    def on_event(self, event: Event, /) -> None:
        """Fail, whatever it is."""
        raise RuntimeError(f"an observer fails at {event.name}")


if os.environ.get(RAISING):
    stem.plugins.register(Raising())

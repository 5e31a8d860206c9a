"""An application whose tasks run in processes of their own, and do to them what tasks do.

Imported by the tests and by the children of their workers; what it makes is told by the
environment, so both make the same.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from stem_core import SoftTimeLimitExceeded, Stem, TaskContext
from stem_core.model.retry import RetryPolicy
from stem_core.producer.registry import TaskRegistry

registry = TaskRegistry()
NOW = RetryPolicy(base=0, cap=0)


def breaks() -> Stem:
    """Fail as an application does whose module cannot be imported where it is needed."""
    raise RuntimeError("the application is broken")


def make() -> Stem:
    """Return a Stem of the environment with the tasks below."""
    return Stem(registry=registry)


def elsewhere() -> Stem:
    """Return one for a child whose worker has a broker of its own in memory."""
    return Stem("memory://", registry=registry)


class Unknown:
    """An application that a child cannot even unpickle, as when its module is not found there."""

    def __call__(self) -> Stem:
        return make()

    def __reduce__(self) -> tuple[object, ...]:
        return __import__, ("a_module_that_only_the_worker_finds",)


in_a_process = registry.task(isolation="process", max_retries=0)
with_context = registry.task(isolation="process", max_retries=0, context=True)


@in_a_process
def where() -> list[int]:
    return [os.getpid(), os.getppid(), os.getpgid(0), os.getsid(0)]


@in_a_process
async def where_a_coroutine() -> list[int]:
    await asyncio.sleep(0)
    return [os.getpid(), os.getppid(), os.getpgid(0), os.getsid(0)]


@in_a_process
def runs_a_loop_of_its_own() -> str:
    return asyncio.run(asyncio.sleep(0, "done"))


@registry.task
async def inline(number: int) -> int:
    return os.getpid()


def die(how: str) -> None:
    """End this process in one of the ways that there are."""
    match how:
        case "segfault":
            ctypes.string_at(0)
        case "abort":
            os.abort()
        case "exit 0":
            os._exit(0)
        case "exit 1":
            os._exit(1)
        case _:
            os.kill(os.getpid(), signal.SIGKILL)


@registry.task(isolation="process", max_retries=3, retry_policy=NOW)
def dies(how: str, folder: str) -> None:
    note(folder, "began")
    die(how)


@registry.task(isolation="process", max_retries=3, retry_policy=NOW)
def dies_once(how: str, folder: str) -> int:
    note(folder, "began")
    if lines(folder, "began") == 1:
        die(how)
    return lines(folder, "began")


@registry.task(name="kills_its_worker", max_retries=0)
async def kills_its_worker(folder: str) -> None:
    note(folder, "killer")
    for _ in range(200):  # until the innocents run beside it, if they ever do
        if lines(folder, "innocent") >= 20:
            break
        await asyncio.sleep(0.005)
    os.kill(os.getpid(), signal.SIGKILL)


@registry.task(name="innocent", max_retries=0)
async def innocent(number: int, folder: str) -> int:
    note(folder, "innocent")
    await asyncio.sleep(0.3)
    return number


@in_a_process
def fails(text: str) -> None:
    class Local(ValueError):
        """One that cannot be pickled."""

    raise Local(text, lambda: None)


@in_a_process
def exits() -> None:
    sys.exit("enough")


@in_a_process
def returns_nothing_that_can_be_kept() -> object:
    return object()


@in_a_process
def prints(text: str) -> str:
    print(text * 1000, flush=True)
    os.write(1, b"\x00\x00\x00\x01\x00 straight to the descriptor\n")
    subprocess.run([sys.executable, "-c", f"print({text!r})"], check=True)
    return text


@in_a_process
def logs(text: str) -> None:
    log = logging.getLogger("caged")
    log.warning("it says %s", text)
    log.debug("nobody wants to know")
    try:
        raise KeyError(text)
    except KeyError:
        log.exception("it failed")


@with_context
def tells(ctx: TaskContext, number: int) -> dict[str, object]:
    ctx.progress({"at": number})
    inner = TaskContext.current()
    ctx.enqueue(where.call())
    ctx.enqueue(inline.call(1), now=True)
    return {"id": ctx.id, "attempt": ctx.attempt, "same": inner is not None and inner.id == ctx.id}


@with_context
async def settles_itself(ctx: TaskContext, commits: bool) -> str:
    from psycopg import AsyncConnection

    async with await AsyncConnection.connect(os.environ["STEM_BROKER_URL"]) as connection:
        ctx.enqueue(inline.call(1))
        await ctx.complete(connection, "settled")
        if not commits:
            await connection.rollback()
    return "settled"


@with_context
def until_cancelled(ctx: TaskContext, folder: str) -> str:
    note(folder, str(os.getpid()))
    while not ctx.cancelled:
        time.sleep(0.005)
    raise RuntimeError("told to end")


@in_a_process
def sleeps(folder: str) -> None:
    note(folder, str(os.getpid()))
    time.sleep(600)


@in_a_process
def dozes(folder: str, count: int) -> int:
    """Doze until *count* processes have done so, and a moment longer: one more may come."""
    note(folder, str(os.getpid()))
    while len(set(notes(folder))) < count:
        time.sleep(0.01)
    time.sleep(0.3)
    return os.getpid()


@in_a_process
def naps(folder: str) -> None:
    note(folder, str(os.getpid()))
    time.sleep(1)
    note(folder, "woke up")


@in_a_process
async def sleeps_in_a_coroutine(folder: str) -> None:
    try:
        note(folder, str(os.getpid()))
        await asyncio.sleep(600)
    finally:
        note(folder, "cleaned up")


@in_a_process
def spins(folder: str) -> None:
    note(folder, str(os.getpid()))
    while True:
        pass


@in_a_process
def holds_the_interpreter(folder: str) -> None:
    note(folder, str(os.getpid()))
    re.fullmatch("(a+)+b", "a" * 64)


@in_a_process
def has_children(folder: str) -> None:
    started = subprocess.Popen(["sleep", "600"])
    note(folder, str(os.getpid()))
    note(folder, str(started.pid))
    time.sleep(600)


@in_a_process
def cleans_up_at_its_soft_limit(folder: str) -> str:
    note(folder, str(os.getpid()))
    try:
        time.sleep(600)
    except SoftTimeLimitExceeded:
        return "cleaned up"
    return "never told"


@in_a_process
async def cleans_up_at_its_soft_limit_too(folder: str) -> str:
    try:
        await asyncio.sleep(600)
    except SoftTimeLimitExceeded:
        return "cleaned up"
    return "never told"


@in_a_process
def holds(megabytes: int) -> int:
    kept.append(bytearray(os.urandom(1024) * 1024 * megabytes))
    return os.getpid()


kept: list[bytearray] = []


@in_a_process
async def enqueues_by_itself() -> str:
    return (await inline.enqueue(1)).id


def note(folder: str, text: str) -> None:
    """Write a line that outlives this process."""
    with open(Path(folder) / "notes", "a") as file:
        file.write(text + "\n")


def notes(folder: str) -> list[str]:
    """Return the lines that were noted."""
    path = Path(folder) / "notes"
    return path.read_text().split("\n")[:-1] if path.exists() else []


def lines(folder: str, text: str) -> int:
    """Count the lines that say *text*."""
    return notes(folder).count(text)

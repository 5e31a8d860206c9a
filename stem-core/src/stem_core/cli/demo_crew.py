"""The worker processes of `stem demo`: started, killed and ended here.

Rule of this module: none of them is ever left behind. Each holds one end of a pipe whose
other end the system closes when the demo is gone.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import click

from stem_core.cli.demo_place import Place
from stem_core.cli.demo_worker import READY
from stem_core.cli.terminal import visible

__all__ = ["KILLED_BY", "Crew", "Mate", "crew_of"]

KILLED_BY: Final = (
    "SIGKILL" if hasattr(signal, "SIGKILL") else "TerminateProcess (this system has no SIGKILL)"
)

_COMING_UP_S: Final = 30.0
_FAREWELL_S: Final = 2.0
_LAST_LINES: Final = 8


class Mate:
    """One worker process. What it says on standard error is in the file *log*."""

    def __init__(self, name: str, process: Process, log: Path) -> None:
        self.name: Final = name
        self.is_killed = False
        self._process: Final = process
        self._log: Final = log

    @property
    def pid(self) -> int:
        """Its number for the system."""
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """True once it is dead, however that came."""
        return self._process.returncode is not None

    def __str__(self) -> str:
        return f"{self.name} (pid {self.pid})"

    async def until_ready(self) -> None:
        """Return when it takes work.

        Raises:
            ClickException: it never will.
        """
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(_COMING_UP_S):
                said = await self._process.stdout.readline()
        except TimeoutError:
            raise self.complaint(f"did not come up within {_COMING_UP_S:g} seconds") from None
        if said.decode(errors="replace").strip() != READY:
            await self.end()
            raise self.complaint(f"ended before it took work, {self._how()}")

    async def kill(self) -> None:
        """Kill it, and return when it is dead."""
        self.is_killed = True
        if not self.has_ended:
            await _killed(self._process)

    async def end(self) -> None:
        """Let it end, or else kill it; return when it has ended."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(_FAREWELL_S):
                await self._process.wait()
        except TimeoutError:
            await self.kill()

    def check(self) -> None:
        """Raise if it has ended though nobody has killed it.

        Raises:
            ClickException: how it ended, and its last words.
        """
        if self.has_ended and not self.is_killed:
            raise self.complaint(f"ended though nobody told it to, {self._how()}")

    def complaint(self, what: str) -> click.ClickException:
        """Return the error that says *what* happened to it, with its last words."""
        last_words = _last_lines(self._log)
        said = f". It said:\n{last_words}" if last_words else ", and said nothing"
        return click.ClickException(f"{self} {what}{said}")

    def _how(self) -> str:
        code = self._process.returncode
        if code is not None and code < 0:
            return f"by {signal.Signals(-code).name}"
        return f"with exit code {code}"


class Crew:
    """All worker processes of one demo, by name."""

    def __init__(self) -> None:
        self._mates: Final[dict[str, Mate]] = {}

    def __getitem__(self, name: str) -> Mate:
        return self._mates[name]

    @property
    def mates(self) -> tuple[Mate, ...]:
        """All that were started, in order."""
        return tuple(self._mates.values())

    async def start(self, number: int, place: Place, concurrency: int, folder: Path) -> None:
        """Start *number* of them, and return when all take work."""
        for count in range(1, number + 1):
            mate = await _start(f"worker-{count}", place, concurrency, folder)
            self._mates[mate.name] = mate
        await asyncio.gather(*(mate.until_ready() for mate in self.mates))

    def by_pid(self, pid: int) -> Mate:
        """Return the one that is the process *pid*."""
        return next(mate for mate in self.mates if mate.pid == pid)

    def check(self) -> None:
        """Raise if one has ended by itself; see `Mate.check`."""
        for mate in self.mates:
            mate.check()

    async def end(self) -> None:
        """Return when none of them is there any more."""
        await asyncio.gather(*(mate.end() for mate in self.mates))


@asynccontextmanager
async def crew_of(number: int, place: Place, concurrency: int, folder: Path) -> AsyncIterator[Crew]:
    """Give *number* worker processes for *place*; *folder* is for their logs."""
    crew = Crew()
    try:
        await crew.start(number, place, concurrency, folder)
        yield crew
    finally:
        await crew.end()


async def _start(name: str, place: Place, concurrency: int, folder: Path) -> Mate:
    log = folder / f"{name}.log"
    # -P: what lies about in the working directory is no module of ours.
    command = (sys.executable, "-P", "-m", "stem_core.cli.demo_worker", name, str(concurrency))
    with log.open("wb") as errors:
        try:
            process = await _begun(
                asyncio.create_subprocess_exec(
                    *command,
                    stdin=PIPE,
                    stdout=PIPE,
                    stderr=errors,
                    env=_environment(place),
                    start_new_session=True,  # a Ctrl-C is for the demo, and the demo ends them
                )
            )
        except OSError as error:
            raise click.ClickException(f"{name} cannot be started: {error}") from error
    return Mate(name, process, log)


async def _begun(starting: Coroutine[Any, Any, Process]) -> Process:
    """Return the process that is *starting*; when cancelled meanwhile, once it is dead.

    Cancelled within that, asyncio may take the exit status from its own watcher, which then
    warns of an unknown process.
    """
    begun = asyncio.ensure_future(starting)
    try:
        return await asyncio.shield(begun)
    except asyncio.CancelledError:
        await _killed(await begun)
        raise


async def _killed(process: Process) -> None:
    with suppress(ProcessLookupError):
        if sys.platform == "win32":
            process.kill()
        else:  # its own `kill` first looks whether it is dead, and takes the status too
            os.kill(process.pid, signal.SIGKILL)
    await process.wait()


def _environment(place: Place) -> dict[str, str]:
    """Return what leads to *place*, and to the modules of this process."""
    return {
        **place.variables(os.environ),
        "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path)),
    }


def _last_lines(log: Path) -> str:
    lines = log.read_text("utf-8", "replace").splitlines()
    return "\n".join(f"  {visible(line)}" for line in lines[-_LAST_LINES:] if line.strip())

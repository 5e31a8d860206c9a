"""One server process: started so that it dies with us, hit by signals, waited for."""

from __future__ import annotations

import contextlib
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from services.processes import children, hit, state
from services.runners import Runner, environment

__all__ = ["Child", "free_port"]

_PATIENCE_S = 10.0
_LOOK_EVERY_S = 0.002

# Linux counts the death of a parent from the thread that forked: a server that a passing thread
# had started would end with that thread. This one lives as long as the process.
_SPAWNER = ThreadPoolExecutor(1, "services")

# Below the ports that kernels hand out to clients: none of them takes the port of a server that
# is away, and a client that keeps calling such a port cannot get connected to itself.
_PORTS = range(20_000, 32_000)


def free_port() -> int:
    """Return a port on 127.0.0.1 that nobody has at this moment."""
    for _ in _PORTS:
        port = secrets.choice(_PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError(f"no free port in {_PORTS}")


class Child:
    """A running program and its processes. What it says goes to the end of the file *log*."""

    def __init__(self, words: Sequence[str], *, runner: Runner, log: Path) -> None:
        with log.open("ab") as output:
            started = _SPAWNER.submit(
                subprocess.Popen,
                runner.command(words),
                cwd=log.parent,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # no Ctrl-C of the terminal reaches it
            )
            self._process: subprocess.Popen[bytes] = started.result()
        self._paused: list[int] = []
        self._thaw: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """How it has ended; None while it runs."""
        return self._process.poll()

    def stop(self, number: signal.Signals) -> None:
        """Ask it to end by the signal *number*, and wait; kill it if it does not."""
        self.resume()
        self._process.send_signal(number)
        try:
            self._process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End it and its children as the power switch would, and wait until they are gone."""
        pids = self._still()
        hit(signal.SIGKILL, pids)
        self._process.wait()
        _wait_until_all("Z", pids)
        self._forget()

    def pause(self) -> None:
        """Let it and its children stand still."""
        self.resume()
        self._paused = self._still()
        self._thaw = _thaw_without_us(self._paused)

    def resume(self) -> None:
        """Let it go on."""
        hit(signal.SIGCONT, self._paused)
        self._forget()

    def _forget(self) -> None:
        """Leave the paused processes to themselves."""
        self._paused = []
        if self._thaw:
            self._thaw.communicate()
            self._thaw = None

    def _still(self) -> list[int]:
        """Stop all its processes and return them: the parent first, then it has no new children.

        Each stands still on return: the signal alone only says that it soon will.
        """
        if self.exit_code is not None:
            return []
        _stop([self.pid])
        offspring = children(self.pid)
        _stop(offspring)
        return [self.pid, *offspring]


def _stop(pids: Sequence[int]) -> None:
    hit(signal.SIGSTOP, pids)
    _wait_until_all("TZ", pids)


def _wait_until_all(states: str, pids: Sequence[int]) -> None:
    """Wait until each process is in one of *states*, or gone."""
    until = time.monotonic() + _PATIENCE_S
    while any(state(pid) not in states for pid in pids):
        if time.monotonic() > until:
            raise OSError(f"not all of {pids} came to {states} within {_PATIENCE_S} s")
        time.sleep(_LOOK_EVERY_S)


def _thaw_without_us(pids: Sequence[int]) -> subprocess.Popen[bytes]:
    """Start what lets *pids* go on when we are gone, so that they see it and end themselves.

    It also does so when its input is closed, which hurts nobody.
    """
    script = 'read -r _; kill -CONT "$@"'
    return subprocess.Popen(
        ["/bin/sh", "-c", script, "sh", *map(str, pids)],
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )

"""What servers of all kinds have in common: a folder, a port, a life, and a log."""

from __future__ import annotations

import shutil
import signal
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from services.finding import Program
from services.running import Child, free_port
from services.tls import Front, Identity

__all__ = ["GivenServer", "Server", "StartFailed"]

HOST = "127.0.0.1"
_PATIENCE_S = 30.0
_LOOK_EVERY_S = 0.005
_TAIL = 4_000
_PORT_IS_TAKEN = "Address already in use"


class StartFailed(Exception):
    """A server did not come up; the message holds the end of its log."""


class Server(ABC):
    """A server of our own on 127.0.0.1, on a port and in a folder that nobody else has.

    Use it as a context manager: at the end of the block neither process nor folder is left,
    and an error that leaves the block carries the end of the log. The URL stays the same
    over all restarts.

    Attributes:
        program: what runs.
        durable: what it has confirmed survives `kill`.
    """

    stop_by: ClassVar[signal.Signals]

    def __init__(self, program: Program, *, durable: bool, tls: Identity | None) -> None:
        self.program = program
        self.durable = durable
        self._tls = tls
        self._front: Front | None = None
        self._child: Child | None = None
        self._folder: Path | None = None
        self._port = free_port()
        self._has_served = False
        self._mark = 0

    # ── what a kind of server says ──

    @property
    @abstractmethod
    def url(self) -> str:
        """The URL for clients."""

    @property
    @abstractmethod
    def socket(self) -> Path:
        """Its Unix socket; without TLS, whatever its port has."""

    @abstractmethod
    def _prepare(self) -> None:
        """Make the data folder and the configuration."""

    @abstractmethod
    def _command(self) -> list[str]:
        """Return what to execute."""

    @abstractmethod
    def _is_ready(self) -> bool:
        """Say whether it serves now."""

    def _front_of(self, identity: Identity) -> Front:
        """Return what speaks TLS in front of it."""
        return Front(self.socket, identity)

    # ── its life ──

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            error.add_note(f"the log of {self} ends with\n{self.log()}")
        self.close()

    def start(self) -> Self:
        """Start it, on what data it has, and wait until it serves.

        Raises:
            StartFailed: it ended, or does not serve.
        """
        if self.is_running:
            raise RuntimeError(f"{self} runs already")
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix=f"{self.program.name.lower()}-"))
            self.program.runner.take(self._folder)
        if not self.data.exists():
            self._prepare()
        self._launch()
        self._has_served = True
        if self._tls and self._front is None:
            self._front = self._front_of(self._tls)
        return self

    def stop(self) -> None:
        """End it in good order. Idempotent."""
        if self._child:
            self._child.stop(self.stop_by)
            self._child = None

    def kill(self) -> None:
        """End all its processes as the power switch would (SIGKILL)."""
        self._running().kill()
        self._child = None

    def restart(self, *, keep_data: bool = True) -> None:
        """End it in good order and start it again, without its data if not *keep_data*.

        Raises:
            ValueError: it keeps no data.
        """
        if keep_data and not self.durable:
            raise ValueError(
                f"keep_data=True: {self} promises to keep nothing; make it with durable=True"
            )
        self.stop()
        if not keep_data:
            shutil.rmtree(self.data)
        self.start()

    def pause(self) -> None:
        """Let it stand still (SIGSTOP): it takes connections and answers nothing."""
        self._running().pause()

    def resume(self) -> None:
        """Let it go on after `pause`."""
        self._running().resume()

    def close(self) -> None:
        """End it and remove its folder. Idempotent."""
        self.stop()
        if self._front:
            self._front.close()
            self._front = None
        if self._folder:
            shutil.rmtree(self._folder)
            self._folder = None

    # ── how it is ──

    @property
    def is_running(self) -> bool:
        """Whether its process is there; one that was paused counts."""
        return self._child is not None and self._child.exit_code is None

    @property
    def pid(self) -> int:
        """The id of its first process."""
        return self._running().pid

    @property
    def port(self) -> int:
        """The port for clients: that of TLS, if it has TLS."""
        return self._front.port if self._front else self._port

    @property
    def folder(self) -> Path:
        """Where all its files are."""
        if self._folder is None:
            raise RuntimeError(f"{self.program} was not started, or is closed")
        return self._folder

    @property
    def data(self) -> Path:
        """Where its data are."""
        return self.folder / "data"

    def log(self, *, since: int = 0) -> str:
        """Return the end of what it has said after the first *since* bytes."""
        path = self.folder / "log"
        said = path.read_bytes()[since:] if path.exists() else b""
        return said[-_TAIL:].decode("utf-8", "replace")

    def __str__(self) -> str:
        return f"{self.program} on port {self._port}"

    def _running(self) -> Child:
        if self._child is None:
            raise RuntimeError(f"{self} does not run; start() it")
        return self._child

    # ── starting ──

    def _launch(self) -> None:
        """Start the process until it serves: the port may have gone to somebody a moment ago."""
        until = time.monotonic() + _PATIENCE_S
        while not self._comes_up(until):
            said, code = self.log(since=self._mark), self._running().exit_code
            self._child = None
            if time.monotonic() > until or _PORT_IS_TAKEN not in said:
                raise StartFailed(f"{self} ended with exit code {code}; its log ends with\n{said}")
            if not self._has_served:  # nobody knows the port yet
                self._port = free_port()

    def _comes_up(self, until: float) -> bool:
        """Start the process; return whether it serves, or has ended.

        Raises:
            StartFailed: it does neither.
        """
        log = self.folder / "log"
        self._mark = log.stat().st_size if log.exists() else 0
        self._child = child = Child(self._command(), runner=self.program.runner, log=log)
        if not _waited(lambda: child.exit_code is not None or self._is_ready(), until):
            child.kill()
            raise StartFailed(f"{self} does not serve; its log ends with\n{self.log()}")
        return child.exit_code is None


def _waited(is_so: Callable[[], bool], until: float) -> bool:
    while not is_so():
        if time.monotonic() > until:
            return False
        time.sleep(_LOOK_EVERY_S)
    return True


class GivenServer:
    """A server that somebody else runs, named by a variable: it can be used, not hit.

    Attributes:
        url: the URL for clients.
    """

    def __init__(self, url: str, variable: str) -> None:
        self.url = url
        self._variable = variable

    def __str__(self) -> str:
        return f"the server that {self._variable} names"

    def log(self) -> str:
        """Return nothing: its log is with its owner."""
        return ""

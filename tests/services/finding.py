"""Where server programs may be, and what to say if none is there.

A search looks in all its places and asks each program that it finds for its version; one that
does not answer is an attempt that failed, with its reason. What a variable names is the only
place looked in: a wrong one must not hide behind a right one somewhere else.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.machinery import PathFinder
from pathlib import Path
from urllib.parse import urlsplit

from attrs import frozen

from services.runners import Runner

__all__ = ["NoServer", "Place", "Program", "Surroundings", "check_answers", "search"]


class NoServer(Exception):
    """A test needs a server and there is none; the message lists every attempt."""


@frozen
class Program:
    """A server program that answered when it was asked for its version.

    Attributes:
        name: ``Valkey``, ``Redis`` or ``PostgreSQL``.
        place: where it was found, in words.
        runner: who can run it.
    """

    name: str
    version: tuple[int, ...]
    path: Path
    place: str
    runner: Runner

    def __str__(self) -> str:
        return f"{self.name} {'.'.join(map(str, self.version))}"

    @property
    def id(self) -> str:
        """A short name for the id of a test: ``valkey-9.1.2``."""
        return str(self).lower().replace(" ", "-")


@frozen
class Place:
    """Somewhere a program may be: at *path*, or not, for the reason *lack*."""

    label: str
    path: Path | None
    lack: str = ""


@frozen
class Surroundings:
    """What a search looks at.

    Attributes:
        environ: the environment.
        path: the PATH.
        packages: where Python finds packages.
        root: the folder below which package managers install.
    """

    environ: Mapping[str, str]
    path: str
    packages: Sequence[str]
    root: Path = Path("/")

    @classmethod
    def here(cls) -> Surroundings:
        """Return those of this process.

        The scripts of its virtual environment are left out of the PATH: packages that bring a
        server may put it there, and would hide the one that the machine has.
        """
        scripts = sysconfig.get_path("scripts")
        folders = os.get_exec_path()
        own = os.pathsep.join(folder for folder in folders if folder != scripts)
        return cls(os.environ, own, sys.path)

    def named(self, variable: str) -> list[Place]:
        """Return the place that *variable* names, if it is set."""
        value = self.environ.get(variable)
        return [Place(f"{variable}={value}", Path(value))] if value else []

    def on_path(self, command: str) -> Place:
        """Return where the PATH has *command*."""
        found = shutil.which(command, path=self.path)
        return Place(f"{command} on the PATH", Path(found) if found else None, "not there")

    def in_package(self, package: str, *inside: str) -> list[Place]:
        """Return the places *inside* the installed *package*, glob patterns, without importing it.

        The last in the order of names comes first: that is the newest.
        """
        label = f"the Python package {package.replace('_', '-')}"
        spec = PathFinder.find_spec(package, self.packages)
        if spec is None or not spec.submodule_search_locations:
            return [Place(label, None, "not installed")]
        root = Path(spec.submodule_search_locations[0])
        found = [path for pattern in inside for path in sorted(root.glob(pattern), reverse=True)]
        return [Place(label, path) for path in found] or [Place(label, None, "holds no server")]


def search(what: str, places: Iterable[Place], ask: Callable[[Place], Program]) -> list[Program]:
    """Return the programs at *places* that answer *ask*, each once, in this order.

    Raises:
        NoServer: none does.
    """
    programs: dict[Path, Program] = {}
    failures: list[str] = []
    for place in places:
        try:
            program = ask(place)
        except OSError as error:
            failures.append(f"{place.label}: {error}")
        else:
            programs.setdefault(program.path.resolve(), program)
    if not programs:
        raise NoServer(_told(what, failures))
    return list(programs.values())


def _told(what: str, failures: Iterable[str]) -> str:
    tried = "".join(f"\n  - {failure}" for failure in failures)
    return (
        f"no {what} server for the tests; tried:{tried}\n"
        "Install one, or the dependency group `test`, or set a variable that CONTRIBUTING.md lists."
    )


def there(place: Place) -> Path:
    """Return the path of *place*.

    Raises:
        OSError: nothing is there.
    """
    if place.path is None:
        raise OSError(place.lack)
    if not place.path.exists():
        raise OSError(f"{place.path} does not exist")
    return place.path


def check_answers(variable: str, url: str, default_port: int) -> None:
    """Connect to the server at *url*, which *variable* holds. The message never shows the URL.

    Raises:
        NoServer: nobody accepts.
    """
    parts = urlsplit(url)
    address = (parts.hostname or "localhost", parts.port or default_port)
    try:
        socket.create_connection(address, timeout=5).close()
    except OSError as error:
        host, port = address
        raise NoServer(f"nobody answers at {host}:{port}, named by {variable}: {error}") from None


def in_turn(*places: Place | Iterable[Place]) -> Iterator[Place]:
    """Yield all *places*, one by one."""
    for place in places:
        if isinstance(place, Place):
            yield place
        else:
            yield from place

"""Walks through a page as its reader would: writes its files, runs its commands, in order.

A fence with a title is a file. A ``console`` fence holds commands behind ``$`` and what they
print. One with the title "the worker" starts a worker, or tells what the running one has
written meanwhile. ``…`` stands for anything; times and durations may be others.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from attrs import define, field, frozen

__all__ = ["Fence", "Reader", "fences_of"]

FENCE = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
WORKER = "the worker"
PATIENCE_S = 60.0
_TOLD = ("STEM_", "FORCE_COLOR", "PY_COLORS", "PYTEST_ADDOPTS", "LC_ALL")
"""What the machine may say to programs, and the page does not."""

VARIES = (
    re.compile(r"\d\d:\d\d:\d\d\.\d{3}"),
    re.compile(r"\b\d+ms\b"),
    re.compile(r"\bin \d+\.\d+s\b"),
)


@frozen
class Fence:
    """One fenced block of a page."""

    kind: str
    title: str
    text: str


def fences_of(page: str) -> list[Fence]:
    """Return the fenced blocks of *page*, in order."""
    return [Fence(kind, title, text) for kind, title, text in FENCE.findall(page)]


def pattern(line: str) -> re.Pattern[str]:
    """Return what a printed line looks like that *line* of a page stands for."""
    words = " ".join(varied(line).split())
    return re.compile(re.escape(words).replace("…", ".+"))


def varied(line: str) -> str:
    for each in VARIES:
        line = each.sub("TIME", line)
    return line


def plain(text: str) -> list[str]:
    """Return the lines of *text*, without the times and the widths of columns."""
    return [" ".join(varied(line).split()) for line in text.splitlines()]


@define
class Reader:
    """Somebody in *folder* who does what a page says, with other *urls* than those it names."""

    folder: Path
    urls: dict[str, str] = field(factory=dict)
    _env: dict[str, str] = field(init=False)
    _worker: subprocess.Popen[bytes] | None = field(init=False, default=None)
    _told: list[str] = field(init=False, factory=list)

    def __attrs_post_init__(self) -> None:
        own = {name: value for name, value in os.environ.items() if not name.startswith(_TOLD)}
        path = f"{Path(sys.executable).parent}{os.pathsep}{own['PATH']}"
        self._env = {**own, "PATH": path, "STEM_LOG_FORMAT": "text", "COLUMNS": "300"}

    def walk(self, page: str) -> None:
        """Do everything that *page* says, and compare what is printed.

        Raises:
            AssertionError: something else was printed.
        """
        try:
            for fence in fences_of(page):
                self._do(fence)
        finally:
            self._end_worker()

    def _do(self, fence: Fence) -> None:
        if fence.kind == "console" and fence.title == WORKER:
            self._look_at_worker(fence.text)
        elif fence.kind == "console":
            for command, expected in commands_of(fence.text):
                self._run(command, expected)
        elif fence.title:
            (self.folder / fence.title).parent.mkdir(exist_ok=True)
            (self.folder / fence.title).write_text(fence.text)

    def _run(self, command: str, expected: list[str]) -> None:
        if command.startswith("export "):
            name, value = command.removeprefix("export ").split("=", 1)
            value = value.replace("$PWD", str(self.folder))
            self._env[name] = self.urls.get(value, value)
            return
        done = subprocess.run(
            command, shell=True, cwd=self.folder, env=self._env, capture_output=True, timeout=120
        )
        printed = plain(self._as_written((done.stdout + done.stderr).decode()))
        assert_in_order(expected, printed, command)

    def _look_at_worker(self, text: str) -> None:
        [(command, expected)] = commands_of(f"$ \n{text}" if text[0] != "$" else text)
        if command:
            self._end_worker()
            with (self.folder / "worker.log").open("wb") as log:
                self._worker = subprocess.Popen(
                    command.split(), cwd=self.folder, env=self._env, stderr=log
                )
        deadline = time.monotonic() + PATIENCE_S
        while (why := self._missing(expected)) and time.monotonic() < deadline:
            assert self._worker is not None
            assert self._worker.poll() is None, self._log()
            time.sleep(0.02)
        assert not why, f"{why}\n{self._log()}"

    def _missing(self, expected: list[str]) -> str:
        try:
            assert_in_order(expected, plain(self._log()), "the worker")
        except AssertionError as error:
            return str(error)
        return ""

    def _log(self) -> str:
        return self._as_written((self.folder / "worker.log").read_text())

    def _as_written(self, text: str) -> str:
        for named, real in self.urls.items():
            text = text.replace(real, named)
        return text

    def _end_worker(self) -> None:
        if self._worker is None:
            return
        self._worker.terminate()
        try:
            assert self._worker.wait(PATIENCE_S) == 0, self._log()
        finally:
            self._worker.kill()
            self._worker = None


def commands_of(text: str) -> Iterator[tuple[str, list[str]]]:
    """Yield each command of a console, with the lines that it prints."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, *lines = part.splitlines()
        yield command, [line for line in lines if line.strip()]


def assert_in_order(expected: list[str], printed: list[str], what: str) -> None:
    """Find each line of *expected* in *printed*, one behind the other."""
    rest = iter(printed)
    for line in expected:
        shape = pattern(line)
        assert any(shape.fullmatch(found) for found in rest), (
            f"{what} printed no such line:\n  {line}\nbut\n  " + "\n  ".join(printed)
        )

"""One process under fault.

What is done to it is in the history before it is done: figures that count from there are
never too good.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from stem_core.testing.faults.history import Recorder, What

_TESTS = Path(__file__).parents[1]
_NOTED = {
    signal.SIGKILL: What.KILLED,
    signal.SIGTERM: What.SIGNALLED,
    signal.SIGSTOP: What.FROZEN,
    signal.SIGCONT: What.THAWED,
}


class Party:
    """A process that has been started. Its log is the file at *log*."""

    def __init__(
        self, words: Sequence[str], settings: Mapping[str, str], pen: Recorder, log: Path
    ) -> None:
        self._pen = pen
        self.log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *words],
                cwd=log.parent,
                env={**clean_environment(), **settings},
                stdin=subprocess.PIPE,  # its leash: it ends when this end is closed
                stdout=output,
                stderr=output,
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """How it has ended; None while it runs."""
        return self._process.poll()

    def kill(self) -> None:
        """End it as the power switch would, and wait until it is gone."""
        self._hit(signal.SIGKILL)
        self._process.wait()

    def terminate(self) -> None:
        """Ask it to end."""
        self._hit(signal.SIGTERM)

    def freeze(self) -> None:
        """Let it stand still."""
        self._hit(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._hit(signal.SIGCONT)

    def _hit(self, number: signal.Signals) -> None:
        self._pen.note(_NOTED[number], pid=self.pid)
        os.kill(self.pid, number)

    def wait(self, within_s: float) -> int:
        """Return its exit code.

        Raises:
            AssertionError: it has not ended within *within_s*; with the end of its log.
        """
        try:
            return self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.pid} goes on after {within_s} s\n{self.said}") from None

    def order(self, words: object) -> None:
        """Tell it something, as a line of its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(words).encode() + b"\n")
        self._process.stdin.flush()

    @property
    def said(self) -> str:
        """The end of its log."""
        return self.log.read_text("utf-8", "replace")[-4_000:]

    def clear_away(self) -> None:
        """Let nothing be left of it."""
        self._process.kill()
        self._process.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()


def clean_environment() -> dict[str, str]:
    """Return the environment without settings of Stem, and with the tests to import."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("STEM_")}
    path = [str(_TESTS), *filter(None, [kept.get("PYTHONPATH")])]
    return {**kept, "PYTHONPATH": os.pathsep.join(path), "PYTHONUNBUFFERED": "1"}

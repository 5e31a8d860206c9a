"""One release of Stem on this machine, and the processes that it runs on a shared store."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import frozen

__all__ = ["SETTINGS", "Side", "until"]

HERE = Path(__file__).parent
SETTINGS = {"STEM_DEFAULT_VISIBILITY_TIMEOUT": "2s", "STEM_WORKER_GRACE": "5s"}
"""A lease that lapses while a test waits for it."""

_PATIENCE_S = 180.0
_SUCCEEDED = "succeeded"

Answers = dict[str, dict[str, Any] | None]


@frozen
class Side:
    """What one release does in *folder*, with the Python that has it installed.

    Attributes:
        name: what its tasks sign their results with.
        settings: variables of Stem for all of its processes.
        path: what stands in its PYTHONPATH; empty for a release that was installed.
    """

    name: str
    python: str
    folder: Path
    settings: dict[str, str]
    path: str = ""

    @property
    def environment(self) -> dict[str, str]:
        """The environment of its processes, apart from the settings of this one."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("STEM_", "PYTHON"))
        }
        told = {"PYTHONPATH": self.path} if self.path else {}
        return {**kept, **told, **SETTINGS, "SHOP_SIDE": self.name, **self.settings}

    def enqueue(self, *calls: tuple[str, dict[str, Any], dict[str, Any]]) -> list[str]:
        """Enqueue tasks by name, arguments and options; return their ids."""
        ids: list[str] = self._asked("enqueue", calls)
        return ids

    def read(self, ids: Iterable[str]) -> Answers:
        """Return what this release knows of *ids*."""
        found: Answers = self._asked("read", list(ids))
        return found

    def reads_when_done(self, ids: Sequence[str]) -> Answers:
        """Return what it knows of *ids* once all of them have succeeded."""
        return until(lambda: self._done(ids), f"{len(ids)} results, read by {self.name}")

    def _done(self, ids: Sequence[str]) -> Answers:
        found = self.read(ids)
        return found if all(each and each["state"] == _SUCCEEDED for each in found.values()) else {}

    def starts(self, id: str) -> list[tuple[str, int]]:
        """Return who has started the task *id* in this folder, and under which fence, in order."""
        path = self.folder / f"started-{id}"
        lines = path.read_text("utf-8").splitlines() if path.exists() else []
        return [(name, int(fence)) for name, fence in map(str.split, lines)]

    def says(self, program: str) -> str:
        """Run *program* with Python; return what it prints."""
        return self._run("-c", program).strip()

    def stem(self, *arguments: str) -> str:
        """Run the program; return its standard output."""
        return self._run("-m", "stem_core", *arguments)

    @contextmanager
    def worker(self, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run a worker of this release; it has drained at the end, or is killed after a failure."""
        log = self.folder / f"worker-{self.name}-{os.urandom(4).hex()}.log"
        words = [self.python, "-m", "stem_core", "worker", "shop:stem", *arguments]
        with open(log, "wb") as out:
            process = subprocess.Popen(
                words, cwd=self.folder, env=self.environment, stdout=out, stderr=out
            )
            try:
                yield process
                if process.poll() is None:
                    process.terminate()
                    process.wait(_PATIENCE_S)
            except BaseException:
                print(log.read_text("utf-8", "replace"))
                raise
            finally:
                process.kill()
                process.wait()

    def _asked(self, question: str, document: Any) -> Any:
        return json.loads(self._run("ask.py", question, json.dumps(document)))

    def _run(self, *words: str) -> str:
        run = subprocess.run(
            [self.python, *words],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
        )
        if run.returncode:
            raise AssertionError(f"{self.name}: {' '.join(words)}\n{run.stdout}{run.stderr}")
        return run.stdout


def furnish(folder: Path) -> None:
    """Put the application of the tests into *folder*."""
    for name in ("shop.py", "ask.py"):
        shutil.copy(HERE / name, folder / name)


def until(look: Callable[[], Any], what: str) -> Any:
    """Return what *look* gives once it is something; fail if *what* does not come."""
    ends = time.monotonic() + _PATIENCE_S
    while not (found := look()):
        assert time.monotonic() < ends, f"waited in vain for {what}"
        time.sleep(0.05)
    return found

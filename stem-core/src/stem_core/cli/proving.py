"""Running the conformance kit in a process of its own, and following what it reports.

Rule of this module: the kit is never imported, so that the program starts without it; a
process of its own also keeps pytest, and whatever a broker does to it, out of this one.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from queue import SimpleQueue
from typing import IO, Any, Final

from attrs import define, frozen

from stem_core.model.errors import ConfigError, StemError

__all__ = ["Kit", "refuse_without_kit"]

_PACKAGE: Final = "stem_core.testing.conformance"
_RAN: Final = (0, 1, 5)
"""How pytest ends when it has run: all passed, some failed, there were none."""


def refuse_without_kit() -> None:
    """Raise unless what the kit needs is installed."""
    if find_spec("pytest") is None:
        raise ConfigError(
            "the conformance kit needs pytest, which is not installed",
            way_out='Install it with: pip install "stem-core[testing]"',
        )


@frozen(kw_only=True)
class Kit:
    """One run of the kit.

    Attributes:
        urls: what to prove; empty for none.
        levels: empty for all.
        seed: of what is drawn; 0 for a new one in each test.
        jobs: how many processes share the tests. Most tests wait for time to pass.
    """

    urls: Mapping[str, str]
    levels: Sequence[str] = ()
    seed: int = 0
    jobs: int = 1

    def lines(self) -> Iterator[dict[str, Any]]:
        """Run, and yield what is reported as it comes: one plan, then the trials.

        Raises:
            StemError: the kit itself did not run; says what it printed.
        """
        with ExitStack() as stack:
            runs = [stack.enter_context(self._run(share)) for share in range(1, self.jobs + 1)]
            yield _together([run.plan() for run in runs])
            for run, line in _as_they_come(runs):
                if line is not None:
                    yield line
                else:
                    run.check()

    @contextmanager
    def _run(self, share: int) -> Iterator[_Run]:
        reads, writes = os.pipe()
        with tempfile.TemporaryFile("w+", errors="replace") as printed, open(reads) as reports:
            process = self._start(writes, printed, share)
            os.close(writes)  # so that its end is the end of the report
            try:
                yield _Run(process, reports, printed)
            finally:
                process.kill()
                process.wait()

    def _start(self, report: int, printed: IO[str], share: int) -> subprocess.Popen[bytes]:
        options = ["-q", "--no-header", "--tb=short", "-p", "no:cacheprovider"]
        plugins = ["-p", "stem_core.testing.plugin", "-p", f"{_PACKAGE}.report"]
        # No settings of the folder that it is called in: they are for other tests.
        bare = ["-c", os.devnull, "--rootdir", tempfile.gettempdir()]
        return subprocess.Popen(
            [sys.executable, "-m", "pytest", *bare, *options, *plugins, _folder()],
            env=self._environment(report, share),
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=subprocess.STDOUT,
            pass_fds=(report,),
        )

    def _environment(self, report: int, share: int) -> dict[str, str]:
        """Tell the URLs by the environment: a command line is for every user to read."""
        told = [f"--stem-{kind}-url={url}" for kind, url in self.urls.items() if url]
        told += [f"--stem-report=/dev/fd/{report}", f"--stem-level={','.join(self.levels)}"]
        told += [f"--stem-seed={self.seed}", f"--stem-share={share}/{self.jobs}"]
        return {
            **os.environ,
            "PYTEST_ADDOPTS": shlex.join(told),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        }


@define
class _Run:
    """One process of the kit, and what it has reported so far."""

    process: subprocess.Popen[bytes]
    reports: IO[str]
    printed: IO[str]
    expected: int = -1
    seen: int = 0

    def plan(self) -> dict[str, Any]:
        """Read the first line, which says what will come.

        Raises:
            StemError: there is none.
        """
        line = self.reports.readline()
        if not line:
            self.check()
            raise StemError("the conformance kit ended and reported nothing")
        plan: dict[str, Any] = json.loads(line)
        self.expected = plan["count"]
        return plan

    def trials(self) -> Iterator[dict[str, Any]]:
        """Read what follows."""
        for line in self.reports:
            self.seen += 1
            yield json.loads(line)

    def check(self) -> None:
        """Raise `StemError` unless it has come to its end."""
        code = self.process.wait()
        if code in _RAN and 0 <= self.expected <= self.seen:
            return
        self.printed.seek(0)
        raise StemError(
            f"the conformance kit ended after {self.seen} tests, with code {code}, before it "
            f"was done; it said:\n{self.printed.read().strip()}"
        )


def _together(plans: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {**plans[0], "count": sum(plan["count"] for plan in plans)}


def _as_they_come(runs: Sequence[_Run]) -> Iterator[tuple[_Run, dict[str, Any] | None]]:
    """Yield the trials of all *runs* as they come, and None when one of them has ended."""
    come: SimpleQueue[tuple[_Run, dict[str, Any] | None]] = SimpleQueue()

    def follow(run: _Run) -> None:
        try:
            for line in run.trials():
                come.put((run, line))
        finally:
            come.put((run, None))

    for run in runs:
        threading.Thread(target=follow, args=(run,), daemon=True).start()
    going = len(runs)
    while going:
        run, line = come.get()
        going -= line is None
        yield run, line


def _folder() -> str:
    """Return where the tests are. By its name pytest would find them too, and load the
    conftest of the working directory with them."""
    spec = find_spec(_PACKAGE)
    assert spec is not None
    assert spec.submodule_search_locations
    return spec.submodule_search_locations[0]

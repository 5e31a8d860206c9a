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
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import IO, Any, Final

from attrs import frozen

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
    """One run of the kit: the URLs to prove, empty for none, the levels, empty for all, and
    the seed of what is drawn, 0 for a new one in each test."""

    urls: Mapping[str, str]
    levels: Sequence[str] = ()
    seed: int = 0

    def lines(self) -> Iterator[dict[str, Any]]:
        """Run, and yield what is reported as it comes.

        Raises:
            StemError: the kit itself did not run; says what it printed.
        """
        reads, writes = os.pipe()
        with tempfile.TemporaryFile("w+", errors="replace") as printed, open(reads) as reports:
            process = self._start(writes, printed)
            os.close(writes)  # so that its end is the end of the report
            expected, seen = -1, 0
            try:
                for line in map(json.loads, reports):
                    expected = line.get("count", expected)
                    seen += line["kind"] == "trial"
                    yield line
                code = process.wait()
            finally:
                process.kill()
                process.wait()
            if code not in _RAN or not 0 <= expected <= seen:
                printed.seek(0)
                raise StemError(
                    f"the conformance kit ended after {seen} tests, with code {code}, before it "
                    f"was done; it said:\n{printed.read().strip()}"
                )

    def _start(self, report: int, printed: IO[str]) -> subprocess.Popen[bytes]:
        options = ["-q", "--no-header", "--tb=short", "-p", "no:cacheprovider"]
        plugins = ["-p", "stem_core.testing.plugin", "-p", f"{_PACKAGE}.report"]
        # No settings of the folder that it is called in: they are for other tests.
        bare = ["-c", os.devnull, "--rootdir", tempfile.gettempdir()]
        return subprocess.Popen(
            [sys.executable, "-m", "pytest", *bare, *options, *plugins, _folder()],
            env=self._environment(report),
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=subprocess.STDOUT,
            pass_fds=(report,),
        )

    def _environment(self, report: int) -> dict[str, str]:
        """Tell the URLs by the environment: a command line is for every user to read."""
        told = [f"--stem-{kind}-url={url}" for kind, url in self.urls.items() if url]
        told += [f"--stem-report=/dev/fd/{report}", f"--stem-level={','.join(self.levels)}"]
        told.append(f"--stem-seed={self.seed}")
        return {
            **os.environ,
            "PYTEST_ADDOPTS": shlex.join(told),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        }


def _folder() -> str:
    """Return where the tests are. By its name pytest would find them too, and load the
    conftest of the working directory with them."""
    spec = find_spec(_PACKAGE)
    assert spec is not None
    assert spec.submodule_search_locations
    return spec.submodule_search_locations[0]

"""How the processes of a worker are called, and what their supervisor is without."""

from __future__ import annotations

import subprocess
import sys

import pytest

from stem_core.cli.processes import interpreter_options

PYTHON = "/usr/bin/python3"


@pytest.mark.parametrize(
    ("originally", "arguments", "options"),
    [
        # A file: nothing of the working directory is on the path.
        ([PYTHON, "/bin/stem", "worker", "shop"], ["/bin/stem", "worker", "shop"], ["-P"]),
        ([PYTHON, "-X", "dev", "/bin/stem"], ["/bin/stem"], ["-X", "dev", "-P"]),
        ([PYTHON, "-O", "-Wd", "/bin/stem", "-c", "3"], ["stem", "-c", "3"], ["-O", "-Wd", "-P"]),
        # A module: the working directory is there, as it was.
        ([PYTHON, "-m", "stem_core", "worker"], ["/x/__main__.py", "worker"], []),
        ([PYTHON, "-u", "-m", "stem_core"], ["/x/__main__.py"], ["-u"]),
        ([PYTHON, "-Im", "stem_core"], ["/x/__main__.py"], ["-I"]),
        ([PYTHON, "-X", "utf8", "-c", "main()", "worker"], ["-c", "worker"], ["-X", "utf8"]),
        # Somebody has changed sys.argv: nothing is known.
        ([PYTHON, "-m", "pytest", "-q"], ["stem", "worker", "shop"], []),
        ([PYTHON], ["", "worker", "shop"], []),
    ],
)
def test_a_process_gets_the_options_of_the_interpreter_that_runs(
    originally: list[str], arguments: list[str], options: list[str]
) -> None:
    assert interpreter_options(originally, arguments) == options


def test_a_supervisor_loads_nothing_that_runs_a_task_or_opens_a_store() -> None:
    program = "import stem_core.cli.worker, stem_core.cli.processes, sys; print(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert set(run.stdout.split()).isdisjoint(
        {
            "asyncio",
            "multiprocessing",
            "pluggy",
            "sqlite3",
            "ssl",
            "stem_core.cli.serving",
            "stem_core.discovery",
            "stem_core.embedded",
            "stem_core.producer",
            "stem_core.worker.worker",
        }
    )

"""Real shells complete by the scripts that they are given: bash, zsh and fish, where they are.

Each is asked as its user asks it: by the key that completes, on a terminal. fish is asked by
the command that it has for this.
"""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

SHOP = """
from stem_core import Stem

print("what an application prints is no answer")
stem = Stem("sqlite:///tasks.db", backend="sqlite:///tasks.db")


@stem.task(name="billing.charge", queue="billing")
async def charge(customer: str) -> str:
    return customer
"""
# What is typed, and what stands there when it is completed.
TYPED = {
    "stem que": "stem queues ",
    "stem dlq rep": "stem dlq replay ",
    "stem worker shop --conc": "stem worker shop --concurrency ",
    "stem worker shop --log-format js": "stem worker shop --log-format json ",
    "stem plugins show sq": "stem plugins show sqlite ",
    "stem demo --broker sq": "stem demo --broker sqlite:// ",
    "stem enqueue --app shop bil": "stem enqueue --app shop billing.charge ",
    "stem queues pause --app shop bil": "stem queues pause --app shop billing ",
    "stem queues pause --app shop se": "stem queues pause --app shop seen ",
    "stem worker shop --queues se": "stem worker shop --queues seen ",
}
LONGEST_S = 60.0
"""Only a shell that never completes waits so long."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder, which is the home of whoever types."""
    return tmp_path_factory.mktemp("place")


@pytest.fixture(scope="module")
def environment(place: Path) -> Mapping[str, str]:
    """An application in that folder, and `stem` on the path; a queue is in use there."""
    (place / ".zshrc").write_text("PS1='> '\nunsetopt prompt_sp zle_bracketed_paste\n")
    (place / "shop.py").write_text(SHOP)
    program = place / "stem"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m stem_core "$@"\n')
    program.chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("STEM_")}
    path = os.pathsep.join([str(place), os.environ["PATH"]])
    found = {**kept, "PATH": path, "TERM": "dumb", "HOME": str(place), "ZDOTDIR": str(place)}
    enqueue = ["stem", "enqueue", "other.task", "--queue", "seen", "--app", "shop"]
    subprocess.run(enqueue, cwd=place, env=found, check=True, capture_output=True)
    return found


class Terminal:
    """A shell that runs on a terminal of its own, and what it has shown there."""

    def __init__(self, command: list[str], place: Path, environment: Mapping[str, str]) -> None:
        self._end, other = pty.openpty()
        self._shell = subprocess.Popen(
            command,
            stdin=other,
            stdout=other,
            stderr=other,
            cwd=place,
            env=environment,
            start_new_session=True,
        )
        os.close(other)
        self.shown = ""

    def type(self, text: str) -> None:
        """Type *text*."""
        os.write(self._end, text.encode())

    def wait_for(self, text: str) -> None:
        """Return when *text* is shown, colours and the bell aside."""
        last = time.monotonic() + LONGEST_S
        while text not in self.shown:
            left = last - time.monotonic()
            ready, _, _ = select.select([self._end], [], [], max(0.0, left))
            assert ready, f"{text!r} was never shown; shown is {self.shown[-2000:]!r}"
            more = os.read(self._end, 4096).decode(errors="replace")
            self.shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\x07|\r", "", self.shown + more)

    def close(self) -> None:
        """End the shell."""
        self._shell.kill()
        self._shell.wait()
        os.close(self._end)


BEGIN = {
    "bash": (["--norc", "--noprofile", "-i"], 'eval "$(stem completion bash)"'),
    "zsh": (["-i"], 'autoload -Uz compinit; compinit -u; eval "$(stem completion zsh)"'),
}


@pytest.fixture(scope="module", params=BEGIN)
def terminal(
    request: pytest.FixtureRequest, place: Path, environment: Mapping[str, str]
) -> Iterator[Terminal]:
    """A shell that has read its script."""
    shell: str = request.param
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell} on this machine")
    arguments, begin = BEGIN[shell]
    terminal = Terminal([shell, *arguments], place, environment)
    # Written apart, so that the echo of the line is not what is waited for.
    terminal.type(f"{begin}; echo rea''dy\n")
    terminal.wait_for("ready")
    yield terminal
    terminal.close()


@pytest.mark.parametrize("typed", TYPED)
def test_a_shell_completes_what_is_typed(terminal: Terminal, typed: str) -> None:
    terminal.type("\x15")  # without what the test before has typed
    terminal.shown = ""
    terminal.type(f"{typed}\t")
    terminal.wait_for(TYPED[typed])
    assert "what an application prints" not in terminal.shown


@pytest.mark.skipif(shutil.which("fish") is None, reason="there is no fish on this machine")
@pytest.mark.parametrize("typed", TYPED)
def test_fish_completes_what_is_typed(
    typed: str, place: Path, environment: Mapping[str, str]
) -> None:
    ask = 'stem completion fish | source; complete --do-complete "$argv"'
    run = subprocess.run(
        ["fish", "--no-config", "-c", ask, typed],
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    offered = [line.partition("\t")[0] for line in run.stdout.splitlines()]
    assert offered == [TYPED[typed].split()[-1]]


def test_on_a_terminal_the_script_is_followed_by_what_to_do_with_it(
    place: Path, environment: Mapping[str, str]
) -> None:
    terminal = Terminal(["stem", "completion", "zsh"], place, environment)
    try:
        terminal.wait_for('put  eval "$(stem completion zsh)"  into ~/.zshrc')
    finally:
        terminal.close()
    piped = subprocess.run(
        ["stem", "completion", "zsh"], env=environment, capture_output=True, text=True, check=True
    )
    assert (piped.stderr, "put  eval" in piped.stdout) == ("", False)

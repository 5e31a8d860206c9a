"""What a shell is told, and that it completes: in a real bash, where there is one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stem_core.cli import main


def completed(shell: str, *words: str) -> list[str]:
    """Return what the script of *shell* would offer for the last of *words*."""
    asked = {"COMP_WORDS": " ".join(words), "COMP_CWORD": words[-1] if shell == "fish" else ""}
    if shell != "fish":
        asked["COMP_CWORD"] = str(len(words) - 1)
    run = subprocess.run(
        [sys.executable, "-m", "stem_core"],
        env={**os.environ, **asked, "_STEM_COMPLETE": f"{shell}_complete"},
        capture_output=True,
        text=True,
        check=True,
    )
    return run.stdout.splitlines()


@pytest.mark.parametrize(
    ("shell", "line"),
    [("bash", "complete "), ("zsh", "compdef "), ("fish", "complete --no-files --command stem")],
)
def test_each_shell_is_given_its_script(
    shell: str, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert line in script
    assert f"_STEM_COMPLETE={shell}_complete" in script


def test_a_shell_that_is_not_known_is_answered_with_those_that_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["completion", "tcsh"]) == 2
    assert "'bash', 'zsh', 'fish'" in capsys.readouterr().err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("stem", "wo"), "worker"),
        (("stem", "dlq", "re"), "replay"),
        (("stem", "worker", "--con"), "--concurrency"),
        (("stem", "plugins", "show", "sq"), "sqlite"),
        (("stem", "plugins", "new", "acme", "--kind", "si"), "signer"),
    ],
)
def test_commands_options_and_values_are_completed(
    shell: str, words: tuple[str, ...], offered: str
) -> None:
    lines = completed(shell, *words)
    assert any(offered in line for line in lines), lines


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash on this machine")
def test_a_real_bash_completes_by_the_script(tmp_path: Path) -> None:
    program = tmp_path / "stem"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m stem_core "$@"\n')
    program.chmod(0o755)
    typed = (
        'eval "$(stem completion bash)"; COMP_WORDS=(stem que); COMP_CWORD=1; '
        '_stem_completion stem; echo "${COMPREPLY[@]}"'
    )
    path = os.pathsep.join([str(tmp_path), os.environ["PATH"]])
    run = subprocess.run(
        ["bash", "--norc", "-c", typed],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (run.stdout, run.stderr) == ("queues\n", "")

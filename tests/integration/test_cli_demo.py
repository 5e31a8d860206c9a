"""`stem demo` as a user runs it: in a process of its own, on real folders."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import pty
import re
import select
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from stem_core.cli import main

DEMO = [sys.executable, "-m", "stem_core", "demo"]
MOVING = "\r\x1b[K"


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("STEM_")}
    return {**kept, "NO_COLOR": "", "TERM": "xterm", **more}


def demo(*arguments: object, **more: str) -> subprocess.CompletedProcess[str]:
    """Run the demo with its output in pipes."""
    return subprocess.run(
        [*DEMO, *map(str, arguments)], capture_output=True, text=True, env=environment(**more)
    )


def demo_on_a_terminal(*arguments: object) -> tuple[str, int]:
    """Run the demo on a pseudo terminal; return what it wrote there, and its exit code."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*DEMO, *map(str, arguments)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment(COLUMNS="100"),
    ) as process:
        os.close(theirs)
        written = b""
        while select.select([ours], [], [], 60)[0]:
            try:
                written += os.read(ours, 65536)
            except OSError:  # how Linux says that the other side has closed
                break
        code = process.wait(60)
    os.close(ours)
    return written.decode().replace("\r\n", "\n"), code


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "one.txt").write_text("one two\nthree\n")
    (tmp_path / "deep" / "empty").touch()
    (tmp_path / "deep" / "er" / "noise.bin").write_bytes(bytes(range(256)) * 9000)
    (tmp_path / "deep" / "日本.md").write_text("# 日本\n", "utf-8")
    return tmp_path


def test_the_own_sources_are_measured_and_nothing_is_lost() -> None:
    run = demo()
    counted = re.fullmatch(
        r"enqueued (\d+), done \1, lost 0, retried 2", run.stdout.splitlines()[-1]
    )
    assert run.returncode == 0
    assert counted is not None
    assert int(counted[1]) > 50
    assert not run.stderr


def test_every_file_is_measured_by_a_task_of_its_own(folder: Path) -> None:
    run = demo(folder, "--json")
    assert run.returncode == 0
    told = json.loads(run.stdout)
    assert {name: told[name] for name in ("enqueued", "done", "lost", "retried")} == {
        "enqueued": 4,
        "done": 4,
        "lost": 0,
        "retried": 2,
    }
    files = {each["file"]: each for each in told["files"]}
    assert len({each["task_id"] for each in told["files"]}) == 4
    for name, facts in files.items():
        content = (folder / name).read_bytes()
        assert facts["sha256"] == hashlib.sha256(content).hexdigest()
        assert (facts["lines"], facts["size"]) == (content.count(b"\n"), len(content))
        assert facts["words"] == len(content.split())
    assert sorted(each["attempt"] for each in told["files"]) == [1, 1, 1, 3]


def test_the_failures_on_purpose_are_said_aloud(folder: Path) -> None:
    said = demo(folder).stdout
    assert re.search(r"attempt 1 of \S+ failed: .* on purpose; again in", said)
    assert re.search(r"attempt 2 of \S+ failed: .* on purpose; again in", said)
    assert re.search(r"attempt 3 of \S+ succeeded", said)


def test_the_table_holds_a_row_for_each_file(folder: Path) -> None:
    rows = demo(folder).stdout.splitlines()
    (row,) = [each for each in rows if each.startswith("one.txt")]
    digest = hashlib.sha256(b"one two\nthree\n").hexdigest()
    assert row.split() == ["one.txt", "2", "3", "14", digest[:12], "succeeded", "1"]


def test_in_a_pipe_there_are_plain_lines_only(folder: Path) -> None:
    run = demo(folder)
    assert "\x1b" not in run.stdout
    assert "\r" not in run.stdout
    assert "  4/4 done" in run.stdout.splitlines()
    assert run.stdout.endswith("\nenqueued 4, done 4, lost 0, retried 2\n")


def test_on_a_terminal_one_line_rewrites_itself(folder: Path) -> None:
    written, code = demo_on_a_terminal(folder)
    assert code == 0
    assert written.count(MOVING) > 4
    assert "] 1/4" in written
    assert written.endswith("\nenqueued 4, done 4, lost 0, retried 2\n")
    # What is left standing on the screen has no trace of the line that moved.
    standing = re.sub(r"\r\x1b\[K[^\n]*?(?=\r\x1b\[K)", "", written)
    assert "4/4" not in standing


def test_an_output_that_is_not_utf_8_is_no_error(folder: Path) -> None:
    run = demo(folder, PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert run.returncode == 0
    assert run.stdout.splitlines()[-1] == "enqueued 4, done 4, lost 0, retried 2"


@pytest.mark.parametrize(
    ("make", "answer"),
    [
        (lambda place: place / "missing", "does not exist"),
        (lambda place: place / "one.txt", "is a file"),
        (lambda place: (place / "empty").mkdir() or place / "empty", "there is no file in"),
    ],
    ids=["missing", "a file", "empty"],
)
def test_a_folder_that_cannot_be_measured_is_one_clear_error(
    folder: Path, make: object, answer: str
) -> None:
    assert callable(make)
    run = demo(make(folder))
    assert run.returncode == 2
    assert answer in run.stderr
    assert "Traceback" not in run.stderr
    assert not run.stdout


def test_links_are_not_followed_and_said_to_be_left_out(folder: Path) -> None:
    (folder / "deep" / "loop").symlink_to(folder, target_is_directory=True)
    (folder / "nowhere").symlink_to("nowhere")
    run = demo(folder)
    assert "Left out: 2 links." in run.stdout.splitlines()
    assert run.stdout.splitlines()[-1] == "enqueued 4, done 4, lost 0, retried 2"


class Acting(io.StringIO):
    """An output that does something when it is first written to: then the files are listed."""

    def __init__(self, act: Callable[[], object]) -> None:
        super().__init__()
        self._acts = [act]

    def write(self, text: str) -> int:
        while self._acts:
            self._acts.pop()()
        return super().write(text)


def replace_by_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


@pytest.mark.parametrize(
    ("make_unreadable", "why"),
    [(Path.unlink, "No such file or directory"), (replace_by_folder, "Is a directory")],
)
def test_a_file_that_became_unreadable_is_told_and_stops_nothing(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    make_unreadable: Callable[[Path], object],
    why: str,
) -> None:
    # Not by its mode: root may read everything.
    output = Acting(lambda: make_unreadable(folder / "one.txt"))
    monkeypatch.setattr(sys, "stdout", output)
    assert main(["demo", str(folder)]) == 0
    lines = output.getvalue().splitlines()
    assert f"1 file: discarded, {why}" in lines
    assert lines[-1] == "enqueued 4, done 4, lost 0, retried 2"


def test_the_demo_leaves_the_log_of_its_process_as_it_was(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = logging.getLogger("stem").level
    assert main(["demo", str(folder)]) == 0
    assert logging.getLogger("stem").level == before
    assert not capsys.readouterr().err


def test_thousands_of_files_are_measured_and_the_table_is_cut(tmp_path: Path) -> None:
    for number in range(2500):
        (tmp_path / f"{number:04}.txt").write_text(f"file {number}\n")
    run = demo(tmp_path)
    lines = run.stdout.splitlines()
    assert lines[-1] == "enqueued 2500, done 2500, lost 0, retried 2"
    assert "... and 2,480 more files; --all shows them" in lines
    assert len(lines) < 60


def test_settings_of_the_environment_play_no_part(folder: Path) -> None:
    run = demo(folder, STEM_BROKER_URL="redis://nobody.invalid", STEM_NAMESPACE="shop")
    assert run.returncode == 0
    assert not run.stderr


def test_a_reader_that_leaves_early_is_no_traceback(folder: Path) -> None:
    pipe = f"{' '.join(DEMO)} {folder} | head -n 1"
    run = subprocess.run(
        ["bash", "-c", pipe], capture_output=True, text=True, env=environment(), check=True
    )
    assert run.stdout.startswith("One task for each file")
    assert "Traceback" not in run.stderr

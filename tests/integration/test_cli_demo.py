"""`stem demo` as a user runs it: in a process of its own, on real folders.

A run takes a few seconds, most of which it waits for the leases of the worker that it has
killed. So one run is looked at by many tests.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import logging
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from services.server import Server

from stem_core.cli import demo_crew, main

# -P: the working directory of these tests is full of traps.
STEM = [sys.executable, "-P", "-m", "stem_core"]
DEMO = [*STEM, "demo"]
MOVING = "\r\x1b[K"
HOSTILE = {
    "STEM_BROKER_URL": "redis://nobody.invalid",
    "STEM_NAMESPACE": "shop",
    "STEM_WORKER_CONCURRENCY": "none",
}
COUNT = r"enqueued (\d+), done (\d+), lost (\d+), run twice (\d+)"
KILL = r"worker-\d \(pid (\d+)\) was killed by SIGKILL in the middle of (\d+) tasks?\."


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("STEM_")}
    return {**kept, "NO_COLOR": "", "TERM": "xterm", **more}


def demo(*arguments: object, **more: str) -> Run:
    """Run the demo with its output in pipes, *more* being variables."""
    command = [*DEMO, *map(str, arguments)]
    run = subprocess.run(command, capture_output=True, text=True, env=environment(**more))
    return Run(run.stdout, run.stderr, run.returncode)


class Run(NamedTuple):
    out: str
    err: str
    code: int

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def counts(self) -> tuple[int, ...]:
        """What the last line says: enqueued, done, lost, run twice."""
        counted = re.fullmatch(COUNT, self.lines[-1])
        assert counted is not None, self
        return tuple(map(int, counted.groups()))


def stem(*arguments: str, settings: dict[str, str]) -> Any:
    """Run a command that prints JSON; return what it printed."""
    run = subprocess.run([*STEM, *arguments], capture_output=True, text=True, env=settings)
    assert run.returncode == 0, run
    return json.loads(run.stdout)


def make_files(folder: Path) -> Path:
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "one.txt").write_text("one two\nthree\n")
    (folder / "deep" / "empty").touch()
    (folder / "deep" / "er" / "noise.bin").write_bytes(bytes(range(256)) * 9000)
    (folder / "deep" / "日本.md").write_text("# 日本\n", "utf-8")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_files(tmp_path / "files")


def is_running(pid: int) -> bool:
    """Tell whether there is such a process that is no zombie."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return state.stdout.strip() not in ("", "Z")


def wait_for_the_end_of(pids: list[int]) -> None:
    """Return when none of *pids* runs; fail after as long as nobody would wait for it."""
    deadline = time.monotonic() + 30
    while any(map(is_running, pids)):
        assert time.monotonic() < deadline
        time.sleep(0.01)


# ── what a run tells, in a pipe ──────────────────────────────────────────────


class Kept(NamedTuple):
    run: Run
    place: Path

    @property
    def settings(self) -> dict[str, str]:
        """What `--keep` says to export, as a shell understands it."""
        (line,) = [each for each in self.run.lines if each.startswith("  export ")]
        script = f'{line}; printf %s "$STEM_BROKER_URL"'
        url = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
        return environment(STEM_BROKER_URL=url.stdout)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    """One run with `--keep`, told to people, with difficult names wherever there is one."""
    folder = make_files(tmp_path_factory.mktemp("files"))
    (folder / "deep" / "loop").symlink_to(folder, target_is_directory=True)
    (folder / "nowhere").symlink_to("nowhere")
    (folder / "\x1b[2J\n.txt").write_text("gone\n")
    place = tmp_path_factory.mktemp("it's 100% here")
    encoding = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    return Kept(demo(folder, "--keep", TMPDIR=str(place), **encoding), place)


def test_nothing_is_lost_though_a_worker_is_killed_in_the_middle_of_its_tasks(kept: Kept) -> None:
    enqueued, done, lost, run_twice = kept.run.counts
    killed = re.search(KILL, kept.run.out)
    assert kept.run.code == 0
    assert (enqueued, done, lost) == (5, 5, 0)
    assert killed is not None
    assert run_twice >= int(killed[2]) > 0
    assert not is_running(int(killed[1]))


def test_the_recovery_is_said_with_the_time_it_took(kept: Kept) -> None:
    assert re.search(
        r"\n(worker-\d \(pid \d+\)) took over (all \d|it), \d+\.\ds after the kill", kept.run.out
    )


def test_the_failures_on_purpose_are_said_aloud(kept: Kept) -> None:
    assert re.search(r"attempt 1 of \S+ failed: .* on purpose", kept.run.out)
    assert re.search(r"attempt 2 of \S+ failed: .* on purpose", kept.run.out)
    assert re.search(r"attempt 3 of \S+ succeeded", kept.run.out)


def test_the_table_holds_a_row_for_each_file(kept: Kept) -> None:
    (row,) = [each for each in kept.run.lines if each.startswith("one.txt")]
    digest = hashlib.sha256(b"one two\nthree\n").hexdigest()
    assert row.replace(",", " ").split()[:6] == ["one.txt", "2", "3", "14", digest[:8], "succeeded"]


def test_in_a_pipe_there_are_plain_lines_only(kept: Kept) -> None:
    assert "\r" not in kept.run.out
    assert "  5/5 done" in kept.run.lines
    assert not kept.run.err


def test_hostile_names_are_shown_and_not_obeyed_and_links_are_left_out(kept: Kept) -> None:
    assert "\x1b" not in kept.run.out
    assert any(line.startswith(r"\x1b[2J\n.txt") for line in kept.run.lines)
    assert "Left out: 2 links." in kept.run.lines


def test_what_was_kept_is_found_by_the_commands_that_are_named(kept: Kept) -> None:
    (folder,) = kept.place.iterdir()
    assert (folder / "tasks.db").is_file()
    assert f"Kept: {folder / 'tasks.db'}. Look at it:" in kept.run.lines
    (line,) = [each for each in kept.run.lines if each.startswith("  stem jobs show ")]
    command = [*STEM, *line.split()[1:]]
    run = subprocess.run(command, capture_output=True, text=True, env=kept.settings)
    assert "demo.measure" in run.stdout
    assert "succeeded" in run.stdout


@pytest.mark.skipif(shutil.which("sqlite3") is None, reason="sqlite3 is not installed here")
def test_what_was_kept_is_a_file_for_sqlite(kept: Kept) -> None:
    (line,) = [each for each in kept.run.lines if each.startswith("  sqlite3 ")]
    run = subprocess.run(["sh", "-c", line], capture_output=True, text=True)
    assert run.stdout.split() == ["succeeded|5"]


# ── what a run tells programs ────────────────────────────────────────────────


class Told(NamedTuple):
    run: Run
    place: Path
    folder: Path

    @property
    def facts(self) -> Any:
        return json.loads(self.run.out)


# ── what the README shows ────────────────────────────────────────────────────

README = Path(__file__).parents[2] / "README.md"
CHANGES = [
    (r" of \S+/stem_core\.$", " of FOLDER"),
    (r"\S+\.[a-z]+ +(?=[\d,]+ )", "FILE "),
    (r"\b[0-9a-f]{8}\b", "SUM"),
    (r"\d[\d,.]*", "N"),
    (r" +", " "),
    (r"\b(task|folder)s?\b", r"\1s"),
]
"""What differs from one run to another, and what it is called instead."""


def shapes(text: str) -> set[str]:
    """Return the lines of *text* without what differs from one run to another."""
    lines = text.splitlines()
    for pattern, name in CHANGES:
        lines = [re.sub(pattern, name, line) for line in lines]
    # No line of a run is left out but by this sign; a folder without caches says nothing of them.
    return {line for line in lines if line.strip() != "…" and not line.startswith("Left out")}


def test_a_run_says_what_the_readme_shows() -> None:
    (shown,) = re.findall(r"```text\n(A worker is killed.*?)```", README.read_text("utf-8"), re.S)
    run = demo()
    assert run.code == 0
    assert shapes(shown) <= shapes(run.out)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    """One run with `--json` and three processes, in surroundings that mean no good."""
    folder = make_files(tmp_path_factory.mktemp("files"))
    place, trap = tmp_path_factory.mktemp("tmp"), tmp_path_factory.mktemp("trap")
    (trap / "logging.py").write_text("raise SystemExit('the working directory was imported')")
    arguments = (folder, "--json", "--processes", 3, "-c", 1)
    with contextlib.chdir(trap):
        run = demo(*arguments, TMPDIR=str(place), **HOSTILE)
    return Told(run, place, folder)


def test_every_file_is_measured_by_a_task_of_its_own(told: Told) -> None:
    files = {each["file"]: each for each in told.facts["files"]}
    assert len({each["task_id"] for each in files.values()}) == 4
    for name, facts in files.items():
        content = (told.folder / name).read_bytes()
        assert facts["sha256"] == hashlib.sha256(content).hexdigest()
        assert (facts["lines"], facts["size"]) == (content.count(b"\n"), len(content))
        assert facts["words"] == len(content.split())
    assert sorted(each["attempt"] for each in files.values()) == [1, 1, 1, 3]


def test_programs_are_told_how_it_came_out(told: Told) -> None:
    facts = told.facts
    names = ("enqueued", "done", "lost", "retried", "committed_twice")
    assert [facts[name] for name in names] == [4, 4, 0, 2, 0]
    assert facts["killed"]["held"] == 1  # for each worker runs one task at a time
    assert facts["run_twice"] >= 1
    assert facts["recovery_ms"] > 0
    assert facts["kept"] is None


def test_what_was_run_twice_was_committed_by_another_worker_than_the_killed_one(
    told: Told,
) -> None:
    twice = [each for each in told.facts["files"] if each["run_twice"]]
    assert twice
    for each in twice:
        assert each["starts"] > each["attempt"]
        assert each["worker"] != told.facts["killed"]["worker"]


def test_with_json_the_story_is_told_on_standard_error(told: Told) -> None:
    assert re.search(KILL, told.run.err)
    assert "worker-3 (pid" in told.run.err


def test_neither_the_settings_nor_the_working_directory_play_a_part(told: Told) -> None:
    assert told.run.code == 0
    assert "Traceback" not in told.run.err


def test_nothing_is_left_in_the_temporary_folder(told: Told) -> None:
    assert list(told.place.iterdir()) == []


# ── on a terminal ────────────────────────────────────────────────────────────


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


def test_on_a_terminal_one_line_rewrites_itself_and_a_death_is_red() -> None:
    """Here with Stem's own sources, which are measured when no folder is given."""
    written, code = demo_on_a_terminal()
    enqueued, done, lost, run_twice = Run(written, "", code).counts
    assert code == 0
    assert enqueued > 50
    assert (done, lost) == (enqueued, 0)
    assert run_twice > 0
    assert written.count(MOVING) > 20
    shown = [int(count) for count in re.findall(rf"\] (\d+)/{enqueued}\b", written)]
    assert any(enqueued // 3 < count < 2 * enqueued // 3 for count in shown)
    assert re.search(r"\x1b\[31m" + KILL, written)
    # What is left standing on the screen has no trace of the line that moved.
    standing = re.sub(r"\r\x1b\[K[^\n]*?(?=\r\x1b\[K)", "", written)
    assert f"/{enqueued} " not in standing


# ── what can be in the way ───────────────────────────────────────────────────


def test_more_files_than_one_call_can_carry_are_measured_and_the_table_is_cut(
    tmp_path: Path,
) -> None:
    for number in range(1100):
        (tmp_path / f"{number:04}.txt").write_text(f"file {number}\n")
    run = demo(tmp_path)
    assert run.counts[:3] == (1100, 1100, 0)
    assert "... and 1,090 more files; --all shows them" in run.lines
    assert len(run.lines) < 50


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
    folder: Path, make: Callable[[Path], Path], answer: str
) -> None:
    run = demo(make(folder))
    assert run.code == 2
    assert answer in run.err
    assert "Traceback" not in run.err
    assert not run.out


class Acting(io.StringIO):
    """An output that does something when it is first written to: then the files are listed."""

    def __init__(self, act: Callable[[], object]) -> None:
        super().__init__()
        self._acts = [act]

    def write(self, text: str) -> int:
        while self._acts:
            self._acts.pop()()
        return super().write(text)


def test_files_that_became_unreadable_are_told_and_stop_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def make_unreadable() -> None:  # not by its mode: root may read everything
        (folder / "one.txt").unlink()
        (folder / "deep" / "empty").unlink()
        (folder / "deep" / "empty").mkdir()

    output, log_level = Acting(make_unreadable), logging.getLogger("stem").level
    monkeypatch.setattr(sys, "stdout", output)
    assert main(["demo", str(folder)]) == 0
    lines = output.getvalue().splitlines()
    assert "1 file: discarded, No such file or directory" in lines
    assert "1 file: discarded, Is a directory" in lines
    assert lines[-1].startswith("enqueued 4, done 4, lost 0, ")
    # And the process that it ran in is as it was.
    assert logging.getLogger("stem").level == log_level
    assert not capsys.readouterr().err


# ── how it ends when it does not go well ─────────────────────────────────────


@contextlib.contextmanager
def demo_until(line: str, *arguments: object, place: Path) -> Iterator[tuple[Any, str]]:
    """Give a demo, and what it has written, when it has written *line*."""
    place.mkdir()
    with subprocess.Popen(
        [*DEMO, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(TMPDIR=str(place)),
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        written = ""
        while not re.search(line, written):
            written += (more := process.stdout.readline())
            assert more, written
        yield process, written


def pids_in(written: str) -> list[int]:
    (line,) = [each for each in written.splitlines() if each.startswith("Workers:")]
    return list(map(int, re.findall(r"pid (\d+)", line)))


@pytest.mark.parametrize("moment", ["no server", "Workers:", KILL])
def test_ctrl_c_ends_everything_and_leaves_nothing_behind(
    folder: Path, tmp_path: Path, moment: str
) -> None:
    with demo_until(moment, folder, place=tmp_path / "tmp") as (process, written):
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        more, errors = process.communicate()
    assert process.returncode == 130
    assert not errors.strip()
    assert list((tmp_path / "tmp").iterdir()) == []
    for pid in pids_in(written + more) if "Workers:" in written + more else ():
        assert not is_running(pid)


def test_the_workers_of_a_demo_that_is_killed_end_by_themselves(
    folder: Path, tmp_path: Path
) -> None:
    with demo_until("Workers:", folder, place=tmp_path / "tmp") as (process, written):
        process.kill()
    wait_for_the_end_of(pids_in(written))


def test_a_worker_that_dies_unexpectedly_is_one_clear_error(folder: Path, tmp_path: Path) -> None:
    with demo_until(KILL, folder, place=tmp_path / "tmp") as (process, written):
        (killed,) = re.findall(KILL, written)
        (other,) = [pid for pid in pids_in(written) if pid != int(killed[0])]
        os.kill(other, signal.SIGKILL)
        _, errors = process.communicate()
    assert process.returncode == 1
    assert re.fullmatch(
        rf"Error: worker-\d \(pid {other}\) ended though nobody told it to, by SIGKILL.*\n", errors
    )


# ── on a broker that others use too ──────────────────────────────────────────


def test_on_a_broker_a_namespace_of_its_own_is_used_and_emptied(
    folder: Path, redis_server: Server
) -> None:
    run = demo(folder, "--broker", redis_server.url, **HOSTILE)
    assert run.code == 0, run
    assert run.counts[:3] == (4, 4, 0)
    assert redis_server.url in run.out
    (namespace,) = re.findall(r"in the namespace (demo-\w+)\.", run.out)
    settings = environment(STEM_BROKER_URL=redis_server.url, STEM_NAMESPACE=namespace)
    queues = stem("queues", "list", "--json", settings=settings)["queues"]
    assert all(not queue["ready"] and not queue["leased"] for queue in queues)


def test_what_a_broker_keeps_can_be_looked_at(folder: Path, redis_server: Server) -> None:
    run = demo(folder, "--keep", "--json", STEM_DEMO_BROKER=redis_server.url)
    assert run.code == 0, run
    story = json.loads(run.out)
    settings = environment(STEM_BROKER_URL=redis_server.url, STEM_NAMESPACE=story["kept"])
    job = stem("jobs", "show", story["files"][0]["task_id"], "--json", settings=settings)
    assert job["state"] == "succeeded"
    assert f"export STEM_NAMESPACE={story['kept']}" in run.err


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("memory://", "the broker of the demo lives in this process only"),
        ("reds://x", "did you mean 'redis'?"),
        ("redis://u:pa55@[x", "--broker"),
        ("redis://u:pa55@127.0.0.1:1/0?connect_timeout=1s", "Is it running, and is its URL right?"),
    ],
)
def test_a_broker_that_cannot_be_used_is_one_clear_error(folder: Path, url: str, says: str) -> None:
    run = demo(folder, "--broker", url)
    assert run.code not in (0, 130)
    assert says in run.err
    assert "Traceback" not in run.err
    assert "pa55" not in run.out + run.err
    assert not run.out


def executable(path: Path, script: str) -> str:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("script", "answer"),
    [
        ("exit 3", "ended before it took work, with exit code 3, and said nothing"),
        (
            "echo one >&2; printf 'no such \\033[2J thing' >&2; exit 3",
            r"ended before it took work, with exit code 3. It said:\n  one\n  no such \\x1b",
        ),
        ("echo hello; exec sleep 1000", "ended before it took work, by SIGKILL"),
        ("exec sleep 1000", "did not come up within 0.2 seconds, and said nothing"),
    ],
)
def test_a_worker_that_does_not_come_up_is_one_clear_error(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    script: str,
    answer: str,
) -> None:
    monkeypatch.setattr(sys, "executable", executable(tmp_path / "python", script))
    monkeypatch.setattr(demo_crew, "_COMING_UP_S", 0.2 if script.startswith("exec") else 30.0)
    monkeypatch.setattr(demo_crew, "_FAREWELL_S", 0.1)
    assert main(["demo", str(folder)]) == 1
    errors = capsys.readouterr().err
    assert re.match(rf"Error: worker-\d \(pid \d+\) {answer}", errors)


def test_a_reader_that_leaves_early_is_no_traceback(folder: Path) -> None:
    pipe = f"{' '.join(DEMO)} {folder} | head -n 1"
    run = subprocess.run(
        ["bash", "-c", pipe], capture_output=True, text=True, env=environment(), check=True
    )
    assert run.stdout.startswith("A worker is killed")
    assert "Traceback" not in run.stderr

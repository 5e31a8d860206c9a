"""`stem enqueue` and `stem result`, on a broker that counts as shared between processes."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stem_core.cli import main
from stem_core.embedded.memory.store import MemoryStore
from stem_core.producer.client import Stem
from stem_core.worker.burst import burst

# No store of this release is shared by processes; this one only says that it is, and the
# commands run in this process.
APP = """
from stem_core.embedded.memory.backend import InMemoryResultBackend
from stem_core.embedded.memory.broker import InMemoryBroker
from stem_core.model.errors import Discard
from stem_core.model.value import replace
from stem_core.producer.client import Stem

class SharedBroker(InMemoryBroker):
    @property
    def capabilities(self):
        return replace(super().capabilities, multiprocess=True)

class SharedBackend(InMemoryResultBackend):
    @property
    def capabilities(self):
        return replace(super().capabilities, multiprocess=True)

stem = Stem(broker=SharedBroker("cli"), backend=SharedBackend("cli"))
forgetful = Stem(broker=SharedBroker("cli"), backend=None)

@stem.task(name="math.square", queue="math")
async def square(number: int) -> dict[str, int]:
    return {"square": number * number}

@stem.task(name="math.fail", max_retries=0)
async def fail(how: str) -> None:
    raise Discard("not today") if how == "gently" else ValueError(how)
"""

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def stem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stem]:
    """Give the Stem of the application ``mathapp``, on an empty store."""
    for name in [name for name in os.environ if name.startswith("STEM_")]:
        monkeypatch.delenv(name)
    (tmp_path / "mathapp.py").write_text(APP)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    import mathapp  # type: ignore[import-not-found]  # written above

    yield mathapp.stem
    del sys.modules["mathapp"]
    MemoryStore.forget("cli", "stem")


@pytest.fixture
def run(stem: Stem, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the program with the application; return exit code, output and errors."""

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main([*arguments, "--app", "mathapp"])
        out, err = capsys.readouterr()
        return code, out, err

    return run


def work(stem: Stem) -> None:
    """Run what is ready."""
    asyncio.run(burst(stem))


def test_a_task_is_enqueued_by_its_name_and_its_result_is_shown(stem: Stem, run: Run) -> None:
    code, out, err = run("enqueue", "math.square", '{"number": 12}')
    assert (code, err) == (0, "")
    task_id = out.strip()

    code, out, _ = run("result", task_id)
    assert code == 6
    assert "queued" in out

    work(stem)
    code, out, _ = run("result", task_id)
    assert code == 0
    told = dict(line.split(None, 1) for line in out.splitlines())
    assert told["id"] == task_id
    assert told["task"] == "math.square"
    assert told["state"] == "succeeded"
    assert told["value"] == '{"square": 144}'


def test_programs_get_one_json_object(stem: Stem, run: Run) -> None:
    meta = '{"requested_by": "finance"}'
    _, out, _ = run("enqueue", "math.square", '{"number": 2}', "--meta", meta, "--json")
    task_id = json.loads(out)["id"]
    work(stem)
    code, out, _ = run("result", task_id, "--json")
    told = json.loads(out)
    assert code == 0
    assert told["id"] == task_id
    assert told["value"] == {"square": 4}
    assert told["meta"] == {"requested_by": "finance"}
    assert told["state"] == "succeeded"
    assert told["attempt"] == 1
    assert told["error"] is None


@pytest.mark.parametrize(
    ("how", "state", "why"),
    [("badly", "dead", "ValueError: badly"), ("gently", "discarded", "not today")],
)
def test_a_task_that_did_not_succeed_is_shown_and_fails_the_command(
    stem: Stem, run: Run, how: str, state: str, why: str
) -> None:
    _, out, _ = run("enqueue", "math.fail", json.dumps({"how": how}))
    work(stem)
    code, out, _ = run("result", out.strip())
    assert code == 1
    assert state in out
    assert why in out


def test_what_the_command_line_gives_wins_over_the_registration(stem: Stem, run: Run) -> None:
    options = ["--queue", "slow", "--priority", "7", "--max-retries", "0", "--id", "mine-1"]
    more = ["--delay", "1h", "--header", "trace=a=b", "--header", "x=y"]
    assert run("enqueue", "math.square", '{"number": 2}', *options, *more)[:2] == (0, "mine-1\n")
    located = asyncio.run(_lookup(stem, "mine-1"))
    assert located.message.queue == "slow"
    assert located.message.priority == 7
    assert located.message.delay_ms == 3_600_000
    envelope = json.loads(located.message.body)
    assert envelope["headers"] == {"trace": "a=b", "x": "y"}
    assert envelope["options"]["max_retries"] == 0
    code, out, _ = run("result", "mine-1", "--json")
    assert code == 6
    assert json.loads(out)["state"] == "scheduled"
    assert json.loads(out)["run_at"]


async def _lookup(stem: Stem, task_id: str) -> Any:
    lane = await stem.lane()
    return (await lane.broker.lookup([task_id]))[0]


def test_an_option_can_be_given_as_its_variable(
    stem: Stem, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEM_ENQUEUE_QUEUE", "from-variable")
    monkeypatch.setenv("STEM_ENQUEUE_ID", "mine-2")
    run("enqueue", "math.square", '{"number": 2}')
    assert asyncio.run(_lookup(stem, "mine-2")).message.queue == "from-variable"


def test_arguments_can_come_from_standard_input(
    stem: Stem, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO('{"number": 5}'))
    _, out, _ = run("enqueue", "math.square", "-")
    work(stem)
    assert '{"square": 25}' in run("result", out.strip())[1]


def test_a_task_that_the_application_does_not_have_is_a_warning(stem: Stem, run: Run) -> None:
    code, out, err = run("enqueue", "math.sqare", '{"number": 5}')
    assert code == 0
    assert out.strip()
    assert "no task 'math.sqare'" in err
    assert "Did you mean 'math.square'?" in err


def test_waiting_in_vain_is_a_time_out(run: Run) -> None:
    code, _, err = run("enqueue", "math.square", '{"number": 5}', "--wait", "10ms")
    assert code == 6
    assert "Traceback" not in err
    _, out, _ = run("enqueue", "math.square", '{"number": 5}')
    assert run("result", out.strip(), "--wait", "10ms")[0] == 6


def test_an_unknown_id_is_not_found(run: Run) -> None:
    code, out, err = run("result", "018f0000-0000-7000-8000-000000000000")
    assert (code, out) == (3, "")
    assert "nobody knows a task" in err


def test_without_a_backend_there_is_no_result(
    stem: Stem, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["result", "some-id", "--app", "mathapp:forgetful"]) == 4
    assert "STEM_RESULT_BACKEND_URL" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "answer"),
    [
        (["math.square", "{number: 1}"], 2, "this is not JSON"),
        (["math.square", '{"number": "one"}'], 2, "number"),
        (["math.square", '{"nmber": 1}'], 2, "nmber"),
        (
            [
                "math.square",
                '{"number": 1}',
                "--delay",
                "1h",
                "--not-before",
                "2030-01-01T00:00:00Z",
            ],
            2,
            "delay",
        ),
        (
            ["math.square", '{"number": 1}', "--not-before", "2030-01-01T00:00:00"],
            2,
            "no time zone",
        ),
        (["math.square", '{"number": 1}', "--queue", "../etc"], 2, "'/' at character 3"),
        (["", "{}"], 2, "task"),
        (
            ["math.square", '{"number": 1}', "--priority", "10"],
            2,
            "--priority: '10' is not a whole number from 0 to 9",
        ),
        (["math.square", '{"number": 1}', "--prority", "1"], 2, "--priority"),
    ],
)
def test_a_mistake_is_one_clear_error_and_nothing_is_published(
    stem: Stem, run: Run, arguments: list[str], code: int, answer: str
) -> None:
    ended, out, err = run("enqueue", *arguments)
    assert (ended, out) == (code, "")
    assert answer in err
    assert asyncio.run(_waiting(stem)) == 0


async def _waiting(stem: Stem) -> int:
    lane = await stem.lane()
    assert lane.broker.admin is not None
    return sum(each.ready + each.delayed for each in await lane.broker.admin.stats())


# ── a store that nobody else sees ────────────────────────────────────────────


def stem_program(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("STEM_")}
    return subprocess.run(
        [sys.executable, "-m", "stem_core", *arguments],
        env={**kept, **environment},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("command", [["enqueue", "math.square"], ["result", "some-id"]])
def test_a_store_of_this_process_only_is_refused(command: list[str]) -> None:
    run = stem_program(*command, STEM_BROKER_URL="memory://")
    assert run.returncode == 4
    assert "lives in this process only" in run.stderr
    assert "Name a store that processes share, in STEM_BROKER_URL" in run.stderr
    assert not run.stdout


@pytest.mark.parametrize(
    ("environment", "answer"),
    [
        ({}, "STEM_BROKER_URL is not set"),
        ({"STEM_BROKER_URL": "redsi://localhost"}, "did you mean 'redis'"),
        ({"STEM_BROKER_URL": "redis//localhost"}, "STEM_BROKER_URL"),
        ({"STEM_BROKER_URL": "memory://?colour=red"}, "colour"),
        ({"STEM_BROKR_URL": "memory://"}, "Did you mean STEM_BROKER_URL?"),
        ({"STEM_BROKER_URL": "memory://", "STEM_STRICT": "maybe"}, "STEM_STRICT='maybe'"),
    ],
)
def test_a_wrong_setting_is_one_clear_error(environment: dict[str, str], answer: str) -> None:
    run = stem_program("enqueue", "math.square", **environment)
    assert run.returncode == 4
    assert answer in run.stderr
    assert "Traceback" not in run.stderr
    assert not run.stdout


def test_a_mistyped_variable_is_told_once() -> None:
    run = stem_program("enqueue", "math.square", STEM_BROKR_URL="memory://")
    assert run.stderr == (
        "Error: STEM_BROKER_URL is not set\n"
        "  STEM_BROKR_URL is set. Did you mean STEM_BROKER_URL?\n"
    )


def test_what_stem_logs_is_a_warning_of_the_command_and_nobody_s_afterwards(
    stem: Stem, run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEM_NAMSPACE", "shop")
    for _ in range(2):
        assert run("result", "some-id")[0] == 3
    del sys.modules["mathapp"]  # its settings are read once
    _, _, err = run("result", "some-id")
    assert err.count("Warning: STEM_NAMSPACE is not a variable of Stem") == 1
    assert not logging.getLogger("stem").handlers


def test_a_secret_is_not_repeated_in_an_error() -> None:
    run = stem_program("enqueue", "a", STEM_BROKER_URL="redsi://user:hunter2@host:badport/1")
    assert run.returncode == 4
    assert "hunter2" not in run.stderr

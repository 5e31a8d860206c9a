"""Whatever is mistyped is answered with what was probably meant."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stem_core.cli import main

SHOP = """
from stem_core import Stem

stem = Stem("sqlite:///tasks.db", backend="sqlite:///tasks.db")


@stem.task(name="billing.charge", queue="billing")
async def charge(customer: str, amount: int = 1) -> str:
    return customer * amount
"""


@pytest.fixture(autouse=True)
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder with an application, which is the working directory."""
    (tmp_path / "shop_of_mistakes.py").write_text(SHOP)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in (None, "stem"):  # a worker that is refused has set up its log already
        logger = logging.getLogger(name)
        monkeypatch.setattr(logger, "handlers", list(logger.handlers))
        monkeypatch.setattr(logger, "level", logger.level)
    yield
    sys.modules.pop("shop_of_mistakes", None)  # the next test imports it anew


AT = ["--app", "shop_of_mistakes"]


@pytest.mark.parametrize(
    ("typed", "guess"),
    [
        # commands
        (["wroker"], "Did you mean 'worker'?"),
        (["dlq", "rplay"], "Did you mean 'replay'?"),
        (["plugins", "nwe"], "Did you mean 'new'?"),
        (["keys", "genrate"], "Did you mean 'generate'?"),
        (["migrate", "stats"], "Did you mean 'status'?"),
        # options
        (["worker", "--concurency", "3", "a"], "'--concurrency'"),
        (["plugins", "new", "acme", "--kid", "broker"], "'--kind'"),
        (["version", "--jsn"], "'--json'"),
        (["keys", "rotate", "--stag"], "'--stage'"),
        # values of options
        (["worker", "a", "--log-level", "inf"], "Did you mean 'info'?"),
        (["worker", "a", "--log-format", "jsno"], "Did you mean 'json'?"),
        (["worker", "a", "--signing-policy", "requir"], "Did you mean 'require'?"),
        (["plugins", "new", "acme", "--kind", "brokr"], "Did you mean 'broker'?"),
        (["completion", "zhs"], "Did you mean 'zsh'?"),
        (["certify", "memory://", "--level", "lase"], "Did you mean 'lease'?"),
        (["keys", "generate", "k.toml", "--algorithm", "ed2519"], "Did you mean 'ed25519'?"),
        (["dlq", "replay", "--all", "--reason", "posion"], "Did you mean 'poison'?"),
        # URLs
        (["plugins", "show", "sqlitte"], "did you mean 'sqlite'?"),
        (["certify", "memroy://"], "did you mean 'memory'?"),
        (["certify", "redsi://localhost"], "did you mean 'redis'?"),
        (["demo", "--broker", "sqlit://"], "did you mean 'sqlite'?"),
        (["certify", "sqlite:////tmp/x?durabilty=synced"], "did you mean 'durability'?"),
        # applications
        (["worker", "shop_of_mistaks"], "Did you mean 'shop_of_mistakes'?"),
        (["worker", "shop_of_mistakes:stme"], "Did you mean 'stem'?"),
        (["worker", "shop_of_mistakes.py"], "Did you mean 'shop_of_mistakes'?"),
        # arguments of tasks
        (["enqueue", "billing.charge", '{"customr": "a"}', *AT], "Did you mean 'customer'?"),
    ],
)
def test_a_mistake_is_refused_with_the_nearest_that_there_is(
    typed: list[str], guess: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(typed) in (2, 4)
    out, err = capsys.readouterr()
    assert guess in err
    assert not out


@pytest.mark.parametrize(
    ("variable", "guess"),
    [
        ("STEM_LOG_FORMAT=jsn", "did you mean 'json'?"),
        ("STEM_LOG_LEVEL=warnin", "did you mean 'warning'?"),
        ("STEM_SIGNING_POLICY=requir", "did you mean 'require'?"),
        ("STEM_WORKER_CHILD_START=spwan", "did you mean 'spawn'?"),
        ("STEM_WORKER_CONCURENCY=3", "Did you mean STEM_WORKER_CONCURRENCY?"),
        ("STEM_PLUGINS_DISABLE=stem-rediss", "did you mean 'stem-redis'?"),
    ],
)
def test_so_is_a_setting(
    variable: str,
    guess: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(*variable.split("="))
    main(["config", "show"] if "PLUGINS" not in variable else ["plugins", "show", "sqlite"])
    assert guess in capsys.readouterr().err


@pytest.mark.parametrize(
    ("typed", "guess"),
    [
        (["enqueue", "billing.chrage", "{}", *AT], "Did you mean 'billing.charge'?"),
        (
            ["enqueue", "billing.charge", '{"customer": "a"}', "-q", "biling", *AT],
            "Did you mean 'billing'?",
        ),
        (["queues", "list", "biling", *AT], "Did you mean 'billing'?"),
        (["queues", "pause", "biling", *AT], "Did you mean 'billing'?"),
        (["dlq", "list", "-q", "biling", *AT], "Did you mean 'billing'?"),
    ],
)
def test_a_name_that_could_be_meant_is_used_with_a_warning(
    typed: list[str], guess: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["enqueue", "billing.charge", '{"customer": "a"}', *AT]) == 0
    capsys.readouterr()
    assert main(typed) == 0
    err = capsys.readouterr().err
    assert err.startswith("Warning:")
    assert guess in err


def test_a_worker_says_that_a_queue_is_nearly_one_that_its_tasks_go_to() -> None:
    command = [sys.executable, "-m", "stem_core", "worker", "shop_of_mistakes"]
    serving = subprocess.Popen(
        [*command, "-q", "biling,billing,exports", "--log-format", "json"],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert serving.stderr is not None
    with serving:
        told = [line for line in iter(serving.stderr.readline, "") if not _is_up(serving, line)]
    assert serving.returncode == 0
    (doubt,) = (line for line in told if "no task of the application goes to" in line)
    assert "'biling'. Did you mean 'billing'?" in doubt


def _is_up(serving: subprocess.Popen[str], line: str) -> bool:
    """Tell whether *line* says that the worker has started; then it is told to end."""
    is_up = '"worker-started"' in line
    if is_up:
        serving.terminate()
    return is_up

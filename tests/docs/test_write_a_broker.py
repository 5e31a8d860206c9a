"""The page on writing a broker holds a plugin: it works, and the kit says what the page says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from stem_core.testing import BrokerContract, FakeClock, Stage
from stem_core.testing.contract.promise import terms_of

PAGE = (Path(__file__).parents[2] / "docs/plugins/write-a-broker.md").read_text()
TITLED = re.findall(r'^```(\w+) title="([^"]+)"\n(.*?)^```$', PAGE, re.MULTILINE | re.DOTALL)
FILES = {name: text for kind, name, text in TITLED if kind != "diff"}
EDITS = [(name, text) for kind, name, text in TITLED if kind == "diff"]
BREAKS, *EXTENDS = EDITS
CERTIFIED = re.findall(r"^certified: (.*)$", PAGE, re.MULTILINE)
LEVELS = CERTIFIED[0].split(" (")[0].split(", ")
MISTAKES_TOLD = re.findall(r"^\| ([A-Z]+-\d+) \|", PAGE, re.MULTILINE)

BOOK, BROKER = "stem_notebook/book.py", "stem_notebook/broker.py"

# By promise: the file, what stands there, what somebody wrote instead, the test that sees it.
MISTAKES = {
    "SETTLE-2": (
        BOOK,
        " and entry.fence == receipt.fence:",
        ":",
        "test_a_stale_receipt_can_do_nothing",
    ),
    "SETTLE-11": (
        BOOK,
        "            if entry.place is Place.DEAD and",
        "            if entry.place is Place.LEASED and entry.due_ms <= now:\n"
        "                entry.wait(Place.READY, entry.due_ms)\n"
        "            if entry.place is Place.DEAD and",
        "test_a_lapsed_lease_that_nobody_took_can_be_settled",
    ),
    "SETTLE-1": (
        BOOK,
        "        if objection := self.objection(settlement.follow_ups):\n",
        "        self.publish(now, settlement.follow_ups[0]) if settlement.follow_ups else None\n"
        "        if objection := self.objection(settlement.follow_ups):\n",
        "test_a_settlement_that_is_refused_changes_nothing",
    ),
    "SETTLE-3": (
        BOOK,
        "SettleStatus.ALREADY if entry.settled == receipt.fence else SettleStatus.STALE",
        "SettleStatus.STALE",
        "test_a_settlement_sent_again_is_already_done",
    ),
    "SETTLE-5": (
        BOOK,
        "self.entries.pop(entry.message.id)",
        "entry",
        "test_a_retry_at_once_stands_behind_what_is_ready",
    ),
    "SETTLE-7": (
        BOOK,
        "                entry.releases += 1\n",
        "                entry.releases += 1\n"
        "                self.entries[entry.message.id] = self.entries.pop(entry.message.id)\n",
        "test_a_release_at_once_goes_before_younger_messages",
    ),
    "PUBLISH-3": (
        BOOK,
        "None, now + self.message.dedupe_for_ms",
        "None, now",
        "test_the_same_message_again_makes_nothing_while_its_id_is_known",
    ),
    "FETCH-4": (
        BOOK,
        "entry.lapses += entry.place is Place.LEASED",
        "entry.failed += entry.place is Place.LEASED",
        "test_a_lapsed_lease_is_offered_again_with_one_lapse_more",
    ),
    "FETCH-5": (
        BOOK,
        "(entry.fence or self.forgotten) + 1",
        "entry.failed + 1",
        "test_the_fence_grows_through_everything",
    ),
    "BROKER-4": (
        BROKER,
        "        if self._owner != here:",
        "        if False:",
        "test_a_handle_awaited_in_a_second_loop_raises",
    ),
}


def edited(text: str, diff: str) -> str:
    """Return *text* with the one place changed that *diff* shows."""
    lines = diff.splitlines(keepends=True)
    old = "".join(line[1:] for line in lines if line[0] != "+")
    new = "".join(line[1:] for line in lines if line[0] != "-")
    return replaced(text, old, new)


def replaced(text: str, old: str, new: str) -> str:
    assert text.count(old) == 1, f"this stands there {text.count(old)} times: {old}"
    return text.replace(old, new)


class Plugin:
    """The files of the page in a folder, which stands for the /tmp of the page, too."""

    def __init__(self, folder: Path, files: dict[str, str]) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        for name, text in {"stem_notebook/__init__.py": "", **files}.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(text.replace("notebook:///tmp/", f"notebook://{folder}/"))
        clean = {name: value for name, value in os.environ.items() if not name.startswith("STEM_")}
        self.env = {**clean, "STEM_PLUGINS": "stem_notebook.plugin", "PYTHONPATH": str(folder)}

    def start(self, *command: str) -> subprocess.Popen[str]:
        """Start Python with *command* in the folder."""
        return subprocess.Popen(
            [sys.executable, *command],
            cwd=self.folder,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def certify(self, *levels: str, as_json: bool = True) -> subprocess.Popen[str]:
        """Start to certify the broker on *levels*, in a folder that nobody else locks."""
        options = [f"--level={level}" for level in levels] + ["--json"] * as_json
        url = f"notebook://{self.folder}/{'-'.join(levels)}"
        return self.start("-m", "stem_core", "certify", url, *options)


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Return the exit code of *process*, and what it said on its two outputs."""
    try:
        output, errors = process.communicate(timeout=200)
    finally:
        process.kill()
    return process.returncode, output, errors


def certificates(folder: Path) -> dict[str, tuple[int, str, str]]:
    """All that the page certifies, two at a time: most of it is waiting, and more than that would
    make each other late.

    Each level of the plugin as it is; "lease without the fence"; "delay, priority" with the
    lines that the page adds.
    """
    name, diff = BREAKS
    broken, longer = {**FILES, name: edited(FILES[name], diff)}, dict(FILES)
    for name, diff in EXTENDS:
        longer[name] = edited(longer[name], diff)
    plugins = [Plugin(folder / str(n), files) for n, files in enumerate((FILES, broken, longer))]
    wanted = {level: partial(plugins[0].certify, level) for level in LEVELS}
    wanted["lease without the fence"] = partial(plugins[1].certify, "lease", as_json=False)
    wanted["delay, priority"] = partial(plugins[2].certify, "delay", "priority")
    with ThreadPoolExecutor(2) as two:
        found = two.map(lambda certify: ended(certify()), wanted.values())
        return dict(zip(wanted, found, strict=True))


def test_what_the_page_says_of_certificates_is_what_is_certified(tmp_path: Path):
    found = certificates(tmp_path)
    assert_certified_as_the_page_says({level: found[level] for level in LEVELS})
    assert_told_without_the_fence(*found["lease without the fence"])
    code, output, errors = found["delay, priority"]
    assert code == 0, output or errors


def assert_certified_as_the_page_says(by_level: dict[str, tuple[int, str, str]]) -> None:
    not_run: list[str] = []
    for level, (code, output, errors) in by_level.items():
        assert code == 0, output or errors
        certificate = json.loads(output)
        [verdict] = certificate["levels"]
        kept = [each for each in verdict["promises"] if each["verdict"] == "kept"]
        assert re.search(rf"^  {level} +{len(kept)} promises kept$", PAGE, re.MULTILINE), kept
        not_run += [each["id"] for each in certificate["not_run"]]
    assert not_run == re.findall(r"[A-Z]+-\d+", CERTIFIED[0])


def assert_told_without_the_fence(code: int, output: str, errors: str) -> None:
    assert code == 1, errors
    assert output.endswith("not certified\n")
    [told] = re.findall(r"^```text\n(broken .*)$", PAGE, re.MULTILINE)
    assert told in output


def test_it_runs_a_task(tmp_path: Path):
    code, output, errors = ended(Plugin(tmp_path, FILES).start("shop.py"))
    assert (code, output) == (0, "42\n"), errors
    book = json.loads((tmp_path / "shop/stem.json").read_text())
    assert [entry["place"] for entry in book["entries"].values()] == [None]


def test_it_shows_itself_as_the_page_says(tmp_path: Path):
    plugin = Plugin(tmp_path, FILES)
    _, output, errors = ended(plugin.start("-m", "stem_core", "plugins", "show", "notebook"))
    [told] = re.findall(r"^```text\n(broker notebook.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    for line in told.splitlines():
        if not line.startswith("  from "):  # it is not installed here
            assert line in output, errors


def test_every_mistake_of_the_page_is_made_here():
    assert list(MISTAKES) == MISTAKES_TOLD


def stages(monkeypatch: pytest.MonkeyPatch, folder: Path, files: dict[str, str]) -> Any:
    """A factory of stages for the kit, whose time is virtual; the broker is made of *files*."""
    for name in (BOOK, BROKER):
        module = ModuleType(name.removesuffix(".py").replace("/", "."))
        monkeypatch.setitem(sys.modules, module.__name__, module)
        exec(compile(files[name], name, "exec"), vars(module))

    def open_stage() -> Stage:
        clock = FakeClock()

        async def let_pass(duration_ms: int) -> None:
            clock.advance(timedelta(milliseconds=duration_ms))
            await stage.breathe()

        broker = vars(module)["NotebookBroker"](folder / "book.json", clock)
        stage = Stage(broker, None, let_pass, clock.wall_ms)
        return stage

    return open_stage


def prove(promise: str, stages: Any) -> None:
    """Run the kit's test that sees the mistake about *promise*."""
    *_, test = MISTAKES[promise]
    assert promise in promises_of_test(test)
    getattr(BrokerContract(), test)(stages)


def promises_of_test(test: str) -> tuple[str, ...]:
    terms = terms_of(getattr(BrokerContract, test))
    assert terms is not None
    return terms.ids


@pytest.mark.parametrize("promise", MISTAKES)
def test_the_kit_sees_the_mistake(promise: str, monkeypatch: Any, tmp_path: Path):
    name, old, new, _ = MISTAKES[promise]
    broken = {**FILES, name: replaced(FILES[name], old, new)}
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        prove(promise, stages(monkeypatch, tmp_path, broken))


@pytest.mark.parametrize("promise", MISTAKES)
def test_without_the_mistake_it_passes(promise: str, monkeypatch: Any, tmp_path: Path):
    prove(promise, stages(monkeypatch, tmp_path, FILES))

"""What pages say of settings, metrics, reasons and commands is what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from stem_core.cli.exits import ExitCode
from stem_core.model.outcome import Reason
from stem_core.observe.families import FAMILIES

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
KINDS = ("configuration", "cli")
REFERENCE = "".join(
    (DOCS / f"reference/{name}.md").read_text() for name in ("configuration", "cli")
)
PAGES = sorted(
    [
        DOCS / "tutorial.md",
        DOCS / "newcomer.md",
        *DOCS.glob("how-to/*.md"),
        *DOCS.glob("explanation/*.md"),
    ]
)
MONITOR = (DOCS / "how-to/monitor.md").read_text()
DEPLOY = (DOCS / "how-to/deploy.md").read_text()
WRONG_ON_PURPOSE = {"STEM_BROKR_URL"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_names_no_variable_that_there_is_not(page: Path) -> None:
    named = {name.rstrip("_") for name in re.findall(r"\bSTEM_[A-Z_]+\b(?!\*)", page.read_text())}
    known = {name for name in named if f"`{name.removesuffix('_FILE')}`" in REFERENCE}
    assert named - known <= WRONG_ON_PURPOSE


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_names_no_command_that_there_is_not(page: Path) -> None:
    sections = set(re.findall(r"^## (stem .+)$", REFERENCE, re.MULTILINE))
    for spoken in re.findall(
        r"\bstem ((?:queues|jobs|dlq|plugins|config) [a-z]+)", page.read_text()
    ):
        assert f"stem {spoken}" in sections


def test_every_metric_is_on_the_page_about_monitoring_and_no_other() -> None:
    names = re.findall(r"\b(?:stem|process)_(?!core\b)[a-z_]+\b", MONITOR)
    assert {name.removesuffix("_bucket") for name in names} == set(FAMILIES)


def test_every_reason_of_a_dead_letter_has_its_advice() -> None:
    table = MONITOR.split("\n## Dead letters\n")[1]
    told = re.findall(r"`([a-z-]+)`", "".join(re.findall(r"^\| (`[^|]+)\|", table, re.MULTILINE)))
    assert sorted(told) == sorted(each.value for each in Reason)


def test_every_way_in_which_a_worker_ends_is_told() -> None:
    codes = re.findall(r"\d+", " ".join(re.findall(r"^\| ([\d, ]+) \|", DEPLOY, re.MULTILINE)))
    ends = set(ExitCode) - {ExitCode.FAILED, ExitCode.TIMED_OUT, ExitCode.INTERRUPTED}
    assert {int(code) for code in codes} - {137} == set(map(int, ends))

"""A pytest plugin that writes down what became of each test, for programs.

``-p stem_core.testing.conformance.report --stem-report=FILE`` appends JSON lines: one with
the plan, one for each test as it ends. ``--stem-level=core,lease`` leaves the other levels
out, ``--stem-share=2/3`` all but the second third of what is left. What the lines mean
together is decided by who reads them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest

__all__ = ["Reporter", "pytest_addoption", "pytest_configure"]

_OWN: Final = "stem-promise"
_LONGEST: Final = 600


def pytest_addoption(parser: pytest.Parser) -> None:
    """Register the options of the report."""
    group = parser.getgroup("stem")
    group.addoption("--stem-report", metavar="FILE", default="", help="Append JSON lines to FILE.")
    group.addoption(
        "--stem-level", metavar="LEVEL,...", default="", help="Prove these levels only."
    )
    group.addoption(
        "--stem-share", metavar="K/N", default="1/1", help="Run the K-th of N shares of the tests."
    )


def pytest_configure(config: pytest.Config) -> None:
    """Begin to write, if there is a file to write to."""
    if path := config.getoption("--stem-report"):
        config.pluginmanager.register(Reporter(Path(path)), "stem-report")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Note on each test what it is about, and leave out the levels that nobody asked for."""
    from stem_core.testing.contract.promise import terms_of  # after its asserts are rewritten

    wanted = frozenset(filter(None, str(config.getoption("--stem-level")).split(",")))
    share, of = map(int, str(config.getoption("--stem-share")).split("/"))
    left_out, count = [], 0
    for item in items:
        terms = terms_of(getattr(item, "function", None))
        if terms is None or (wanted and terms.level not in wanted):
            left_out.append(item)
            continue
        count += 1
        if count % of != share % of:
            left_out.append(item)
        else:
            about = {"test": item.name, "ids": list(terms.ids), "level": terms.level}
            item.user_properties.append((_OWN, about))
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


class Reporter:
    """Writes one line for the plan and one for each test."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Say how many tests will come, and what the promises are."""
        from stem_core.testing.contract.promise import sentences

        self._write({"kind": "plan", "count": len(session.items), "sentences": {**sentences()}})

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Say what became of a test: kept, broken, not claimed or not run."""
        about = dict(report.user_properties).get(_OWN)
        if not isinstance(about, dict) or not (report.when == "call" or not report.passed):
            return
        verdict, why = _verdict(report)
        self._write({"kind": "trial", **about, "verdict": verdict, "why": why})

    def _write(self, line: dict[str, Any]) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def _verdict(report: pytest.TestReport) -> tuple[str, str]:
    if report.passed:
        return "kept", ""
    if report.skipped and isinstance(report.longrepr, tuple):
        verdict, _, why = report.longrepr[2].removeprefix("Skipped: ").partition(": ")
        return (verdict, why) if verdict in ("not claimed", "not run") else ("not run", verdict)
    crash = getattr(report.longrepr, "reprcrash", None)
    message = crash.message if crash is not None else report.longreprtext
    return "broken", message.strip()[:_LONGEST]

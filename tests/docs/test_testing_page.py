"""The page on testing tasks holds a folder of files: pytest passes in it, as it says it does."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs/testing/test-your-tasks.md").read_text()
FILES = dict(re.findall(r'^```\w+ title="([^"]+)"\n(.*?)^```$', PAGE, re.MULTILINE | re.DOTALL))
SHOWN = re.search(r"^```\n(E  .*?)^```$", PAGE, re.MULTILINE | re.DOTALL)

# What runs coroutines here; readers have one of the plugins that the page names.
RUNNER = """
import asyncio
import inspect

def pytest_configure(config):
    config.addinivalue_line("markers", "asyncio: run in an event loop")

def pytest_pyfunc_call(pyfuncitem):
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True
"""
FAILING = """
from shop.tasks import charge

def test_one(stem_outbox):
    charge.blocking.enqueue("bob", 5)
    stem_outbox.assert_enqueued(charge, args={"customer": "ada"})
"""


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Run pytest on the files of the page, and on one test that fails; return what it says."""
    folder = tmp_path_factory.mktemp("page")
    files = {**FILES, "shop/__init__.py": "", "coroutines.py": RUNNER, "test_failing.py": FAILING}
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    command = [sys.executable, "-m", "pytest", "-p", "no:hypothesispytest", "-W", "error"]
    told = ("FORCE_COLOR", "PY_COLORS", "PYTEST_ADDOPTS")
    plain = {name: value for name, value in os.environ.items() if name not in told}
    done = subprocess.run(
        [*command, "-p", "coroutines"],
        cwd=folder,
        env=plain,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.stdout + done.stderr


def test_every_test_on_the_page_passes(report):
    count = sum(len(re.findall(r"^(?:async )?def test_", text, re.M)) for text in FILES.values())
    assert count >= 8
    assert f"1 failed, {count} passed in" in report, report


def test_a_failed_assertion_looks_as_the_page_shows_it(report):
    assert SHOWN is not None
    assert SHOWN[1] in report

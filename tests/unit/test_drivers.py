"""A driver is imported by the first use of its scheme, and by nothing before: in real processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

DRIVERS = {"redis", "hiredis", "psycopg", "cryptography", "sqlite3"}
BROKERS = {"redis", "hiredis", "psycopg", "sqlite3"}
# A port that nobody listens on: what is asked is who was imported on the way there.
NOBODY = "127.0.0.1:1"

HEAD = """
import asyncio, sys
from stem_core import Stem, StoreError, Worker

def tell():
    print("MODULES", *sys.modules)

async def opened(url, **how):
    try:
        async with Stem(url, **how) as stem:
            await stem.lane()
    except StoreError:
        pass
"""


def loaded(code: str, place: Path) -> set[str]:
    """Return which drivers a new process holds that has run *code*."""
    run = subprocess.run(
        [sys.executable, "-c", f"{HEAD}\n{code}\ntell()"],
        cwd=place,
        env={**os.environ, "STEM_PUBLISH_DEADLINE": "100ms"},  # how long nobody is asked
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 0, run.stderr
    (line,) = (each for each in run.stdout.splitlines() if each.startswith("MODULES"))
    return DRIVERS.intersection(line.split())


@pytest.mark.parametrize(
    ("code", "drivers"),
    [
        # Naming a store is not using it.
        (f"Stem('redis://{NOBODY}', backend='postgresql://{NOBODY}/x')", set()),
        ("Stem('sqlite:///tasks.db', backend='sqlite:///tasks.db')", set()),
        ("asyncio.run(opened('memory://', backend='memory://'))", set()),
        ("asyncio.run(opened('sqlite:///tasks.db'))", {"sqlite3"}),
        (f"asyncio.run(opened('postgresql://{NOBODY}/x'))", {"psycopg"}),
        (f"asyncio.run(opened('redis://{NOBODY}'))", {"redis", "hiredis"}),
    ],
)
def test_a_driver_is_imported_when_its_scheme_is_used(
    code: str, drivers: set[str], tmp_path: Path
) -> None:
    assert loaded(code, tmp_path) & BROKERS == drivers


WORKS = """
stem = Stem("memory://")

@stem.task
async def double(number: int) -> int:
    return 2 * number

async def main():
    async with Worker(stem):
        assert await (await double.enqueue(21)).result(timeout=20) == 42

asyncio.run(main())
"""


def test_a_worker_in_memory_runs_tasks_without_any_driver(tmp_path: Path) -> None:
    assert loaded(WORKS, tmp_path) == set()


def test_who_signs_imports_what_signs_when_it_is_opened(tmp_path: Path) -> None:
    generate = [sys.executable, "-m", "stem_core", "keys", "generate", "k.toml"]
    subprocess.run(generate, cwd=tmp_path, check=True)
    how = f"signer='ed25519+file://{tmp_path}/k.toml'"
    assert loaded("import stem_signing.plugin", tmp_path) == set()
    assert loaded(f"asyncio.run(opened('memory://', {how}))", tmp_path) == {"cryptography"}


@pytest.mark.parametrize("asked", [["--help"], ["worker", "--help"], ["plugins"], ["config"]])
def test_a_command_that_opens_no_store_imports_no_driver(asked: list[str], tmp_path: Path) -> None:
    code = f"from stem_core.cli import main\nmain({asked!r})"
    assert loaded(code, tmp_path) == set()

"""Every Python block of every page runs, as a program of its own, and every link leads somewhere.

A block behind `<!-- needs: stem-x -->` needs a package that does not exist yet: it
must compile, and must end with the error that names the package. One behind
`<!-- server: redis -->` finds a real server at `STEM_BROKER_URL`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import frozen

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *ROOT.glob("stem-*/README.md"),
        *ROOT.glob("benchmarks/*.md"),
        *(ROOT / "docs").rglob("*.md"),
    ]
)
FENCE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NEEDS = re.compile(r"<!-- needs: (\S+) -->")
SERVER = re.compile(r"<!-- server: (\S+) -->")
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#]+)(?:#[^)]*)?\)")


@frozen
class Block:
    """One fenced block: where it stands, what it says, what package or server it asks for."""

    name: str
    code: str
    needs: str
    server: str


def blocks() -> Iterator[Block]:
    for page in PAGES:
        text = page.read_text()
        end = 0
        for found in FENCE.finditer(text):
            marks = NEEDS.findall(text, end, found.start())
            servers = SERVER.findall(text, end, found.start())
            line = text.count("\n", 0, found.start()) + 2
            name = f"{page.relative_to(ROOT)}:{line}"
            yield Block(name, found[1], "".join(marks[-1:]), "".join(servers[-1:]))
            end = found.end()


BLOCKS = list(blocks())


def run(block: Block, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a block as a file, in an empty folder, without any STEM_ variable but *variables*."""
    program = folder / "page.py"
    program.write_text(block.code)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("STEM_")}
    return subprocess.run(
        [sys.executable, str(program)],
        cwd=folder,
        env={**clean, **variables},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_pages_hold_blocks_to_run() -> None:
    assert len([block for block in BLOCKS if not block.needs]) >= 5


@pytest.mark.parametrize(
    "block", [b for b in BLOCKS if not b.needs and not b.server], ids=lambda b: b.name
)
def test_a_block_on_a_page_runs(block: Block, tmp_path: Path) -> None:
    assert_runs(run(block, tmp_path))


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.server], ids=lambda b: b.name)
def test_a_block_that_needs_a_server_runs_with_one(
    block: Block, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    server = request.getfixturevalue(f"{block.server}_server")
    if block.server == "postgres":  # a page begins with `stem migrate up`
        done = subprocess.run([sys.executable, "-m", "stem_core", "migrate", "up", server.url])
        assert done.returncode == 0
    # Pages add the logical database themselves.
    assert_runs(run(block, tmp_path, STEM_BROKER_URL=server.url.removesuffix("/0")))


def assert_runs(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "never awaited" not in done.stderr


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.needs], ids=lambda b: b.name)
def test_a_block_that_waits_for_a_package_names_it(block: Block, tmp_path: Path) -> None:
    compile(block.code, block.name, "exec")
    done = run(block, tmp_path)
    assert done.returncode != 0
    # Here the wheel may lie beside the core already, without a scheme to offer yet.
    assert re.search(rf"(pip install|upgrade) {block.needs}\b", done.stderr)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_link_between_pages_leads_somewhere(page: Path) -> None:
    broken = [to for to in LINK.findall(page.read_text()) if not (page.parent / to).exists()]
    assert not broken

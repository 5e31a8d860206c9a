"""The commands that prepare a release, on a copy of what they change."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DISTRIBUTIONS = ("stem-core", "stem-redis", "stem-postgres", "stem-signing")
KINDS = {name.removeprefix("stem-") for name in DISTRIBUTIONS}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy, at version 0.4.2."""
    shutil.copytree(ROOT / "tools", tmp_path / "tools")
    for name in (*DISTRIBUTIONS, "examples/kms_signer"):
        (tmp_path / name).mkdir(parents=True)
        text = (ROOT / name / "pyproject.toml").read_text("utf-8")
        text = re.sub(r'^version = ".*"$', 'version = "0.4.2"', text, flags=re.MULTILINE)
        text = re.sub(r'"stem-core>=[^"]*"', '"stem-core>=0.4,<0.5"', text)
        (tmp_path / name / "pyproject.toml").write_text(text, "utf-8")
    return tmp_path


def version(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = str(tree / "tools" / "version.py")
    return subprocess.run([sys.executable, program, *arguments], capture_output=True, text=True)


def contents(tree: Path) -> dict[str, str]:
    return {str(path): path.read_text("utf-8") for path in tree.rglob("pyproject.toml")}


def test_the_version_is_shown_when_all_agree(tree: Path) -> None:
    run = version(tree)
    assert (run.returncode, run.stdout) == (0, "0.4.2\n")


@pytest.mark.parametrize(
    ("wanted", "needs"),
    [
        ("0.4.3", "stem-core>=0.4,<0.5"),
        ("0.5.0", "stem-core>=0.5,<0.6"),
        ("1.0.0", "stem-core>=1.0,<2"),
    ],
)
def test_all_distributions_get_the_version_and_the_range_that_fits(
    tree: Path, wanted: str, needs: str
) -> None:
    assert version(tree, wanted).returncode == 0
    for name in DISTRIBUTIONS:
        project = tomllib.loads((tree / name / "pyproject.toml").read_text("utf-8"))["project"]
        assert (project["name"], project["version"]) == (name, wanted)
        if name != "stem-core":
            assert [each for each in project["dependencies"] if "stem-core" in each] == [needs]
    example = (tree / "examples" / "kms_signer" / "pyproject.toml").read_text("utf-8")
    assert f'"{needs}"' in example
    assert version(tree).stdout == f"{wanted}\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["0.5"], "'0.5' is no version: write three numbers, such as 0.2.0"),
        (["v0.5.0"], "'v0.5.0' is no version"),
        (["0.05.0"], "'0.05.0' is no version"),
        (["0.5.0rc1"], "'0.5.0rc1' is no version"),
        ([""], "'' is no version"),
        (["0.4.2"], "0.4.2 does not follow 0.4.2: next is 0.4.3, 0.5.0 or 1.0.0"),
        (["0.4.1"], "0.4.1 does not follow"),
        (["0.6.0"], "0.6.0 does not follow"),
        (["0.5.0", "0.6.0"], "one version, not 2"),
    ],
)
def test_nonsense_is_refused_with_one_error_and_changes_nothing(
    tree: Path, arguments: list[str], says: str
) -> None:
    before = contents(tree)
    run = version(tree, *arguments)
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr.startswith("error: ")
    assert says in run.stderr
    assert run.stderr.count("\n") == 1
    assert contents(tree) == before


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('version = "0.4.2"', 'version = "0.4.1"', "not in lockstep: stem-core 0.4.2, stem-redis"),
        ("stem-core>=0.4,<0.5", "stem-core>=0.4,<0.6", "stem-redis 0.4.2 needs"),
    ],
)
def test_distributions_that_do_not_agree_are_named(
    tree: Path, old: str, new: str, says: str
) -> None:
    path = tree / "stem-redis" / "pyproject.toml"
    path.write_text(path.read_text("utf-8").replace(old, new), "utf-8")
    for arguments in ([], ["0.4.3"]):
        run = version(tree, *arguments)
        assert run.returncode == 1
        assert says in run.stderr


def test_every_fragment_of_the_changelog_names_a_distribution_and_says_something() -> None:
    fragments = [path for path in (ROOT / "changelog.d").iterdir() if path.name != "README.md"]
    for path in fragments:
        what, kind, ending = path.name.split(".")
        assert what, path
        assert kind in KINDS, path
        assert ending == "md", path
        assert path.read_text("utf-8").strip(), path
        assert not re.search(r"^#", path.read_text("utf-8"), re.MULTILINE), path

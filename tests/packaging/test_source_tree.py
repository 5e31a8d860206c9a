"""What the four source trees must agree on before anybody builds them."""

from __future__ import annotations

import re
import runpy
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
CORE = "stem-core"
PLUGINS = ("stem-redis", "stem-postgres", "stem-signing")
ALL = (CORE, *PLUGINS)


def _project(distribution: str) -> dict[str, Any]:
    pyproject = tomllib.loads((ROOT / distribution / "pyproject.toml").read_text("utf-8"))
    project: dict[str, Any] = pyproject["project"]
    return project


def _range_that_holds(version: str) -> str:
    major, minor, _ = version.split(".")
    below = f"{int(major) + 1}" if major != "0" else f"0.{int(minor) + 1}"
    return f"stem-core>={major}.{minor},<{below}"


def test_every_directory_with_the_family_name_is_listed_here_and_in_the_workspace() -> None:
    workspace = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    found = {path.parent.name for path in ROOT.glob("stem-*/pyproject.toml")}
    assert found == set(ALL) == set(workspace["tool"]["uv"]["workspace"]["members"])


def test_all_distributions_have_one_version() -> None:
    assert len({_project(distribution)["version"] for distribution in ALL}) == 1


@pytest.mark.parametrize("distribution", PLUGINS)
def test_a_plugin_accepts_the_releases_of_core_that_share_its_minor(distribution: str) -> None:
    project = _project(distribution)
    pins = [need for need in project["dependencies"] if need.startswith("stem-core")]
    assert pins == [_range_that_holds(project["version"])]


def test_core_depends_on_no_member_of_its_family() -> None:
    project = _project(CORE)
    extras = [need for needs in project["optional-dependencies"].values() for need in needs]
    assert not [need for need in [*project["dependencies"], *extras] if need.startswith("stem")]


@pytest.mark.parametrize("distribution", ALL)
def test_every_distribution_declares_whatever_its_sources_import(distribution: str) -> None:
    package = distribution.replace("-", "_")
    imported = runpy.run_path(str(Path(__file__).with_name("alone.py")))["imported"]
    sources = (ROOT / distribution / "src" / package).rglob("*.py")
    named = {name for path in sources for name in imported(path.read_text("utf-8"))}
    project = _project(distribution)
    extras = project.get("optional-dependencies", {}).values()
    needs = [*project["dependencies"], *(need for extra in extras for need in extra)]
    declared = {re.split(r"[^\w-]", need)[0].replace("-", "_") for need in needs}
    assert named - sys.stdlib_module_names - {package} <= declared


@pytest.mark.parametrize("distribution", ALL)
def test_every_distribution_carries_the_same_licence_text(distribution: str) -> None:
    assert (ROOT / distribution / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


@pytest.mark.parametrize("field", ["requires-python", "license", "authors", "license-files"])
def test_the_distributions_agree_on_who_may_use_them_where(field: str) -> None:
    core = _project(CORE)[field]
    assert [_project(distribution)[field] for distribution in PLUGINS] == [core] * len(PLUGINS)


@pytest.mark.parametrize("distribution", ALL)
def test_every_distribution_promises_to_be_typed_and_keeps_it(distribution: str) -> None:
    package = ROOT / distribution / "src" / distribution.replace("-", "_")
    assert "Typing :: Typed" in _project(distribution)["classifiers"]
    assert (package / "py.typed").is_file()


@pytest.mark.parametrize("distribution", ALL)
def test_the_interpreters_that_are_claimed_begin_with_the_oldest_that_is_allowed(
    distribution: str,
) -> None:
    project = _project(distribution)
    prefix = "Programming Language :: Python :: "
    claimed = [line.removeprefix(prefix) for line in project["classifiers"] if prefix in line]
    minors = [int(version.removeprefix("3.")) for version in claimed if re.match(r"3\.\d", version)]
    assert project["requires-python"] == f">=3.{minors[0]}"
    assert minors == list(range(minors[0], minors[0] + len(minors)))


def test_the_changelog_begins_with_the_version_that_would_be_built() -> None:
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert headings[0] == _project(CORE)["version"]

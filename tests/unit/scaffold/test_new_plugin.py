"""`stem plugins new`: what it writes, what it refuses, and that it writes over nothing."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

from stem_core.cli import main
from stem_core.discovery.candidate import KINDS, Kind
from stem_core.model.errors import UsageError
from stem_core.model.settings import reference_markdown
from stem_core.scaffold.naming import PluginNames
from stem_core.scaffold.rendering import core_range, rendered
from stem_core.scaffold.writing import write_new_folder

ACME = PluginNames.of("acme", taken=())


def test_one_name_gives_all_of_them() -> None:
    names = PluginNames.of("acme-queue2", taken=())
    assert (names.distribution, names.package, names.prefix) == (
        "stem-acme-queue2",
        "stem_acme_queue2",
        "AcmeQueue2",
    )
    assert PluginNames.of("stem-acme", taken=()) == ACME


@pytest.mark.parametrize(
    "name",
    ["", "../x", "/etc/x", "a/b", "a b", "a\nb", "Acme", "acme_x", "acme.x", "9acme", "-acme",
     "acme-", "a--b", "é", "acme;rm -rf", "$x", "a" * 41, "stem-"],
)  # fmt: skip
def test_a_name_that_is_none_is_refused_and_nothing_is_written(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    into = tmp_path / "into"
    assert main(["plugins", "new", "--kind", "broker", "--into", str(into), "--", name]) == 2
    out, err = capsys.readouterr()
    assert "Error: " in err
    assert repr(name[:40])[:-1] in err
    assert (out, list(tmp_path.iterdir())) == ("", [])


@pytest.mark.parametrize("name", ["redis", "stem-redis", "sqlite", "memory", "pg", "core"])
def test_what_belongs_to_another_plugin_is_refused(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plugins", "new", name, "--kind", "signer", "--into", str(tmp_path)]) == 2
    assert "belongs to another plugin" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_folder_is_named_and_how_to_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plugins", "new", "acme", "--kind", "broker", "--into", str(tmp_path)]) == 0
    assert f"cd {tmp_path / 'stem-acme'}" in capsys.readouterr().out
    assert [each.name for each in tmp_path.iterdir()] == ["stem-acme"]


@pytest.mark.parametrize("there", ["a folder", "an empty folder", "a file", "a dangling link"])
def test_it_never_writes_over_what_is_there(there: str, tmp_path: Path) -> None:
    place = tmp_path / "stem-acme"
    if there == "a file":
        place.write_text("mine")
    elif there == "a dangling link":
        place.symlink_to(tmp_path / "nowhere")
    else:
        place.mkdir()
        if there == "a folder":
            (place / "mine").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UsageError, match="is there already"):
        write_new_folder(place, {"README.md": "new"})
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_that_cannot_be_filled_is_not_there_at_all(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be written"):
        write_new_folder(tmp_path / "stem-acme", {"a": "file", "a/b": "in a file"})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", KINDS)
def test_it_imports_of_stem_what_is_promised_and_nothing_else(kind: Kind) -> None:
    allowed = {"stem_core.plugin", "stem_core.testing"}
    for path, text in rendered(ACME, kind).items():
        if path.endswith(".py"):
            named = re.findall(r"^(?:from|import) (stem_core\S*)", text, re.MULTILINE)
            assert set(named) <= (allowed if path.startswith("tests/") else {"stem_core.plugin"})


@pytest.mark.parametrize("kind", KINDS)
def test_what_it_writes_is_whole(kind: Kind) -> None:
    files = rendered(ACME, kind)
    project = tomllib.loads(files["pyproject.toml"])["project"]
    assert project["name"] == "stem-acme"
    assert project["entry-points"] == {f"stem.{kind}s": {"acme": "stem_acme.plugin"}}
    assert {"README.md", ".gitignore", ".github/workflows/ci.yml"} <= files.keys()
    assert {"src/stem_acme/py.typed", "tests/test_conformance.py"} <= files.keys()
    assert "${{ matrix.python }}" in files[".github/workflows/ci.yml"]
    for path, text in files.items():
        assert "PACKAGE" not in path
        assert not re.search(r"\$\{?(kind|scheme|package|prefix|distribution)\b", text), path
        if path.endswith(".py"):
            ast.parse(text)


@pytest.mark.parametrize(
    ("installed", "range"),
    [("0.1.0", ">=0.1,<0.2"), ("0.12.3", ">=0.12,<0.13"), ("2.4.1", ">=2.4,<3")],
)
def test_the_plugin_accepts_the_releases_that_share_its_plugin_api(
    installed: str, range: str
) -> None:
    assert core_range(installed) == range


@pytest.mark.parametrize("kind", KINDS)
def test_its_readme_sets_variables_that_stem_has(kind: Kind) -> None:
    readme = rendered(ACME, kind)["README.md"]
    reference = reference_markdown()
    for variable in re.findall(r"\bSTEM_[A-Z_]+", readme):
        assert f"`{variable}`" in reference

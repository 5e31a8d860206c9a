"""`stem plugins`: lists without importing, checks by importing, shows one scheme."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stem_core.cli import main

PLUGIN = """
import sys
print("imported", file=sys.stderr)
from stem_core.plugin import BrokerSpec, hookimpl
STEM_PLUGIN_API = (1, 0)

@hookimpl
def stem_register_brokers():
    return [BrokerSpec(schemes=("carrier-pigeon",), factory="stem_pigeon:Pigeon", summary="By air")]

class Pigeon:
    pass
"""


def stem(place: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run the program with the distributions that lie in *place*."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("STEM_")}
    return subprocess.run(
        [sys.executable, "-m", "stem_core", *arguments],
        env={**kept, "PYTHONPATH": str(place), **more},
        capture_output=True,
        text=True,
    )


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Give a folder with an installed third-party plugin."""
    info = tmp_path / "stem_pigeon-0.3.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stem-pigeon\nVersion: 0.3\n")
    (info / "entry_points.txt").write_text("[stem.brokers]\ncarrier-pigeon = stem_pigeon\n")
    (tmp_path / "stem_pigeon.py").write_text(PLUGIN)
    return tmp_path


def row_of(run: subprocess.CompletedProcess[str], scheme: str) -> list[str]:
    """Return the words of the broker's row."""
    rows = (line.split() for line in run.stdout.splitlines())
    (row,) = [row for row in rows if row[:2] == ["broker", scheme]]
    return row


def test_the_list_names_what_is_installed_and_imports_none_of_it(place: Path) -> None:
    run = stem(place, "plugins")
    assert run.returncode == 0
    assert "imported" not in run.stderr
    expected = [
        "broker",
        "carrier-pigeon",
        "stem-pigeon",
        "0.3",
        "stem_pigeon",
        "-",
        "not",
        "loaded",
    ]
    assert row_of(run, "carrier-pigeon") == expected


def test_a_check_imports_each_and_finds_all_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins", "--check", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    ours = [row for row in rows if row["distribution"] == "stem-core"]
    assert {row["state"] for row in ours} == {"ok"}
    assert {(row["kind"], row["scheme"]) for row in ours} >= {
        ("broker", "memory"),
        ("backend", "memory"),
        ("signer", "none"),
    }


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        ("import no_such_driver", "no_such_driver"),
        ("raise SystemExit(0)", "SystemExit"),
        ("def broken(:", "SyntaxError"),
        ("STEM_PLUGIN_API = (9, 0)", "9.0"),
    ],
)
def test_a_broken_plugin_is_found_by_the_check_and_named(
    place: Path, code: str, cause: str
) -> None:
    (place / "stem_pigeon.py").write_text(code)
    assert stem(place, "plugins").returncode == 0
    run = stem(place, "plugins", "--check")
    assert run.returncode == 4
    assert row_of(run, "carrier-pigeon")[-1] == "error"
    assert cause in run.stdout
    assert row_of(run, "memory")[-1] == "ok"
    assert "Traceback" not in run.stderr


def test_a_plugin_that_is_switched_off_is_listed_as_such(place: Path) -> None:
    run = stem(place, "plugins", STEM_PLUGINS_DISABLE="stem-pigeon")
    assert run.returncode == 0
    assert row_of(run, "carrier-pigeon")[-1] == "disabled"


def test_the_program_works_beside_other_settings_that_are_wrong(place: Path) -> None:
    assert stem(place, "plugins", STEM_WORKER_GRACE="never").returncode == 0


def test_a_wrong_plugin_setting_is_one_clear_error(place: Path) -> None:
    run = stem(place, "plugins", STEM_PLUGINS_AUTOLOAD="perhaps")
    assert run.returncode == 4
    assert "STEM_PLUGINS_AUTOLOAD='perhaps'" in run.stderr


def test_a_scheme_is_shown_with_what_its_plugin_says(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = stem(place, "plugins", "show", "carrier-pigeon://")
    assert run.returncode == 0
    for fact in ("broker carrier-pigeon://", "By air", "stem-pigeon 0.3", "stem_pigeon:Pigeon"):
        assert fact in run.stdout
    assert main(["plugins", "show", "memory", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [info["kind"] for info in shown] == ["broker", "backend"]
    assert shown[0]["schemes"] == ["memory"]


@pytest.mark.parametrize(
    ("scheme", "answer"), [("memroy", "'memory'"), ("nats", "installed"), ("redsi", "'redis'")]
)
def test_a_scheme_that_nobody_opens_is_answered_with_a_way_out(
    scheme: str, answer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plugins", "show", scheme]) == 4
    out, err = capsys.readouterr()
    assert not out
    assert scheme in err
    assert answer in err

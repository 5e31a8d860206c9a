"""What the installed distributions offer, from wheels or from a source tree alike."""

from __future__ import annotations

import importlib
import importlib.metadata as metadata
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

DISTRIBUTIONS = ("stem-core", "stem-redis", "stem-postgres", "stem-signing")
GROUPS = ("stem.brokers", "stem.backends", "stem.signers", "stem.plugins", "stem.commands")


def _ours(group: str) -> list[metadata.EntryPoint]:
    entries = metadata.entry_points(group=group)
    return [entry for entry in entries if entry.dist and entry.dist.name in DISTRIBUTIONS]


def _package(distribution: str) -> Path:
    module = importlib.import_module(distribution.replace("-", "_"))
    assert module.__file__ is not None
    return Path(module.__file__).parent


@pytest.mark.skipif(
    "NOX_CURRENT_SESSION" not in os.environ, reason="only nox promises to test wheels"
)
@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_what_is_tested_is_what_a_wheel_installed(distribution: str) -> None:
    origin = metadata.distribution(distribution).read_text("direct_url.json") or ""
    assert _package(distribution).parent == Path(sysconfig.get_path("purelib"))
    assert ".whl" in origin
    assert "dir_info" not in origin


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_type_checkers_find_the_marker_in_the_installed_package(distribution: str) -> None:
    assert (_package(distribution) / "py.typed").is_file()


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_the_licence_is_installed_with_the_code(distribution: str) -> None:
    information = metadata.distribution(distribution).metadata
    assert information["License-Expression"] == "MIT"
    assert information.get_all("License-File") == ["LICENSE"]


def test_the_console_script_is_called_stem_and_belongs_to_core() -> None:
    scripts = [entry for entry in _ours("console_scripts") if entry.name == "stem"]
    assert [entry.dist.name for entry in scripts if entry.dist] == ["stem-core"]


@pytest.mark.parametrize("entry", [entry for group in GROUPS for entry in _ours(group)], ids=repr)
def test_no_entry_point_is_registered_before_the_module_behind_it_exists(
    entry: metadata.EntryPoint,
) -> None:
    assert entry.load() is not None


@pytest.mark.parametrize("driver", ["redis", "psycopg", "cryptography"])
def test_importing_a_plugin_package_does_not_import_its_driver(driver: str) -> None:
    plugins = DISTRIBUTIONS[1:]
    names = ", ".join(distribution.replace("-", "_") for distribution in plugins)
    thin = "stem_redis.plugin, stem_postgres.plugin, stem_signing.plugin"
    program = f"import sys, {names}, {thin}; print({driver!r} in sys.modules)"
    run = [sys.executable, "-c", program]
    assert subprocess.run(run, check=True, capture_output=True, text=True).stdout == "False\n"

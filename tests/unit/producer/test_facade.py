from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import stem_core
from stem_core.model import errors

SOURCE = Path(stem_core.__file__).read_text("utf-8")

HEAVY = ("asyncio", "attr", "cattrs", "click", "importlib.metadata", "logging", "msgspec", "pluggy")


def loaded_after(program: str) -> set[str]:
    code = f"import sys\n{program}\nprint(*sys.modules, sep=chr(10))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


def test_every_name_is_there_and_is_what_checkers_are_told() -> None:
    told = {
        alias.asname or alias.name: node.module
        for node in ast.walk(ast.parse(SOURCE))
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("stem_core.")
        for alias in node.names
    }
    assert told == stem_core._HOME_OF
    assert sorted(stem_core.__all__) == sorted([*told, "__version__"])
    for name in stem_core.__all__:
        assert getattr(stem_core, name) is not None


def test_every_error_is_within_reach() -> None:
    assert set(errors.__all__) <= set(stem_core.__all__)


def test_importing_it_loads_nothing_of_weight() -> None:
    loaded = loaded_after("import stem_core")
    assert loaded & {*HEAVY, *(f"stem_core.{room}" for room in ("model", "producer"))} == set()


def test_a_producer_loads_neither_the_worker_nor_the_command_line_nor_a_store() -> None:
    loaded = loaded_after("from stem_core import Stem, TaskOptions; Stem('redis://h')")
    heavy = {"click", "cattrs", "stem_core.worker", "stem_core.cli", "stem_core.producer.override"}
    assert loaded & {*heavy, "stem_core.embedded.memory.store"} == set()


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'Stemm'"):
        _ = stem_core.Stemm  # type: ignore[attr-defined]


def test_it_lists_what_it_has_before_any_of_it_is_loaded() -> None:
    assert {"Stem", "Worker", "InvalidOption", "__version__"} <= set(dir(stem_core))

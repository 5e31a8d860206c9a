from __future__ import annotations

import functools
import pickle
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from unit.producer import shop

from stem_core.model.errors import (
    CapabilityMissing,
    DuplicateTask,
    InvalidName,
    InvalidOption,
    InvalidTask,
    UsageError,
)
from stem_core.producer.client import Stem
from stem_core.producer.context import TaskContext
from stem_core.producer.registry import SimpleTaskRegistry, TaskRegistry


def again(fn: Any) -> Any:
    """Return a copy of a function as if it stood at the top of this module."""
    copy = types.FunctionType(fn.__code__, fn.__globals__, fn.__name__, fn.__defaults__)
    copy.__annotations__ = fn.__annotations__
    copy.__kwdefaults__ = fn.__kwdefaults__
    copy.__qualname__ = fn.__name__
    copy.__module__ = __name__
    return copy


def test_a_registry_can_be_made_empty_under_both_its_names() -> None:
    assert len(SimpleTaskRegistry()) == 0
    assert SimpleTaskRegistry is TaskRegistry


def test_a_task_is_called_as_it_says_or_by_its_module_and_name() -> None:
    assert shop.charge.name == "billing.charge"
    assert shop.describe.name == f"{shop.__name__}.describe"


def test_a_task_is_still_the_function_that_it_was() -> None:
    assert shop.describe.__name__ == "describe"
    assert shop.quiet.__doc__ == "Annotated with a name that only checkers know."
    assert shop.describe("x", note=None) == "x"  # type: ignore[arg-type, comparison-overlap]


def test_a_task_is_pickled_by_its_name_as_functions_are() -> None:
    assert pickle.loads(pickle.dumps(shop.charge)) is shop.charge


def test_a_program_that_is_run_gives_its_tasks_the_name_that_a_worker_imports(
    tmp_path: Path,
) -> None:
    program = tmp_path / "shopping.py"
    program.write_text(
        "from stem_core.producer.registry import TaskRegistry\n"
        "tasks = TaskRegistry()\n"
        "@tasks.task\n"
        "def buy() -> None: ...\n"
        "print(buy.name)\n"
    )
    ways = [[str(program)], ["-m", "shopping"]]
    told = [
        subprocess.run(
            [sys.executable, *way], cwd=tmp_path, capture_output=True, text=True, check=True
        ).stdout
        for way in ways
    ]
    assert told == ["shopping.buy\n", "shopping.buy\n"]


def test_a_task_answers_to_its_aliases_and_is_listed_once() -> None:
    assert shop.tasks.get("shop.old_export") is shop.export
    assert "shop.old_export" not in shop.tasks.names()
    assert "shop.old_export" in shop.tasks
    assert shop.tasks.get("no.such") is None


# ── what cannot be a task ────────────────────────────────────────────────────


def with_rest(*rest: int) -> None: ...
def with_keywords(**rest: int) -> None: ...
def with_positional(first: int, /) -> None: ...
def generates() -> Any:
    yield 1


async def generates_slowly() -> Any:
    yield 1


def forgot(ctx: TaskContext, year: int) -> None: ...
def takes_bytes(data: bytes) -> None: ...


class Holder:
    def method(self) -> None: ...


@pytest.mark.parametrize(
    ("fn", "says"),
    [
        (with_rest, r"'rest' takes any number of arguments"),
        (with_keywords, r"'rest' takes any keyword"),
        (with_positional, r"'first' is positional-only"),
        (generates, "is a generator"),
        (generates_slowly, "is a generator"),
        (lambda: None, "a lambda has no name"),
        (Holder.method, "is a method"),
        (Holder, "is not a function"),
        (functools.partial(with_rest), "is not a function"),
        (len, "is not a function"),
        (shop.charge, "is a task already"),
        ("billing.charge", "is not a function"),
        (forgot, r"context=True"),
        (takes_bytes, "bytes has no JSON form"),
    ],
)
def test_what_cannot_be_a_task_is_refused_where_it_is_decorated(fn: Any, says: str) -> None:
    registry = TaskRegistry()
    with pytest.raises(InvalidTask, match=says):
        registry.task(fn)
    assert len(registry) == 0


def test_a_nested_function_is_refused_for_no_worker_can_find_it() -> None:
    def inner() -> None: ...

    with pytest.raises(InvalidTask, match="defined inside a function"):
        TaskRegistry().task(inner)


@pytest.mark.parametrize("name", ["", "with space", "../up", "ünï", 7])
def test_a_hostile_name_is_refused(name: Any) -> None:
    with pytest.raises(InvalidName):
        TaskRegistry().task(name=name)(again(shop.plain))


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"max_retrys": 3}, InvalidOption, "max_retries"),
        ({"max_retries": -1}, InvalidOption, "max_retries=-1"),
        ({"unique": ("frist",)}, InvalidOption, "Did you mean 'first'"),
        ({"rate_limit": "10/s"}, CapabilityMissing, "not built yet"),
        ({"ack_early": True}, CapabilityMissing, "not built yet"),
        ({"hard_time_limit": "5s"}, CapabilityMissing, "Give it isolation='process'"),
        ({"aliases": "old"}, InvalidOption, "one text, not a list"),
    ],
)
def test_an_impossible_option_is_refused_where_it_is_decorated(
    options: Any, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        TaskRegistry().task(**options)(again(shop.plain))


def test_options_that_ask_for_nothing_special_are_fine() -> None:
    made = TaskRegistry().task(rate_limit=None, ack_early=False, hard_time_limit=None)(
        again(shop.plain)
    )
    assert made.options.given() == {
        "rate_limit": None,
        "ack_early": False,
        "hard_time_limit_ms": None,
    }


# ── names are taken once ─────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "second", [{"name": "a"}, {"name": "old"}, {"name": "b", "aliases": ["a"]}]
)
def test_two_tasks_of_one_name_are_refused_and_the_first_stays(second: Any) -> None:
    registry = TaskRegistry()
    first = registry.task(name="a", aliases=["old"])(again(shop.plain))
    with pytest.raises(DuplicateTask, match="two tasks are called"):
        registry.task(**second)(again(with_defaults))
    assert registry.names() == ("a",)
    assert registry.get("a") is first


def with_defaults(value: int = 1) -> None: ...


def test_the_same_source_loaded_twice_replaces_itself() -> None:
    registry = TaskRegistry()
    registry.task(name="a")(again(shop.plain))
    second = registry.task(name="a")(again(shop.plain))
    assert registry.get("a") is second


# ── including ────────────────────────────────────────────────────────────────


def test_what_comes_later_into_an_included_registry_is_included_too() -> None:
    whole, part = TaskRegistry(), TaskRegistry()
    before = part.task(name="before")(again(shop.plain))
    whole.include(part)
    after = part.task(name="after")(again(with_defaults))
    assert whole.get("before") is before
    assert whole.get("after") is after


def test_registries_that_include_each_other_have_the_same_tasks() -> None:
    one, other = TaskRegistry(), TaskRegistry()
    one.include(other)
    other.include(one)
    one.task(name="a")(again(shop.plain))
    other.task(name="b")(again(with_defaults))
    assert one.names() == other.names() == ("a", "b")


def test_a_name_that_is_taken_where_it_would_go_is_refused_and_nothing_is_changed() -> None:
    whole, part = TaskRegistry(), TaskRegistry()
    whole.task(name="a")(again(shop.plain))
    whole.include(part)
    with pytest.raises(DuplicateTask):
        part.task(name="a")(again(with_defaults))
    assert part.names() == ()


def test_a_module_gives_the_tasks_and_registries_that_stand_in_it() -> None:
    registry = TaskRegistry()
    registry.include(shop)
    assert registry.names() == shop.tasks.names()


def test_a_module_without_tasks_is_refused() -> None:
    with pytest.raises(UsageError, match="holds no task"):
        TaskRegistry().include(functools)


def test_a_task_belongs_to_the_stem_that_included_it_last() -> None:
    registry = TaskRegistry()
    task = registry.task(name="a")(again(shop.plain))
    with pytest.raises(UsageError, match="belongs to no Stem"):
        _ = task.sender
    one = Stem("memory://", registry=registry)
    assert task.sender is one
    other = Stem("memory://")
    other.include(registry)
    assert task.sender is other


def test_a_task_that_joins_later_belongs_to_the_stem_of_its_registry() -> None:
    stem = Stem("memory://")
    assert stem.task(name="a")(again(shop.plain)).sender is stem
    assert stem.registry.names() == ("a",)

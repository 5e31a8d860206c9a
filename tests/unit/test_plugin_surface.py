"""`stem_core.plugin` is the single import of plugin authors: nothing they must name is missing."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re

import stem_core.plugin as surface
from stem_core.contracts import hookspecs

NAME = re.compile(r"[A-Z]\w+")
PRIVATE = {"Self"}  # of the standard library


def annotations_of(thing: object) -> set[str]:
    """Return every capitalised name in the annotations of a function, or of a class's verbs."""
    found = set()
    if inspect.isclass(thing):
        for value in vars(thing).values():
            found |= annotations_of(getattr(value, "fget", value))
    for text in getattr(thing, "__annotations__", {}).values():
        found |= set(NAME.findall(text if isinstance(text, str) else ""))
    return found


def ours() -> set[str]:
    """Return every public name of the contracts and the model."""
    names: set[str] = set()
    for room in ("stem_core.contracts", "stem_core.model"):
        package = importlib.import_module(room)
        for module in pkgutil.walk_packages(package.__path__, f"{room}."):
            names |= set(getattr(importlib.import_module(module.name), "__all__", ()))
    return names


def test_every_name_in_a_signature_that_authors_see_is_exported() -> None:
    seen = {name for each in surface.__all__ for name in annotations_of(getattr(surface, each))}
    hooks = [f for name, f in vars(hookspecs).items() if name.startswith("stem_")]
    seen |= {name for hook in hooks for name in annotations_of(hook)}
    assert "Envelope" in seen
    assert sorted((seen & ours()) - set(surface.__all__) - PRIVATE) == []


def test_the_promise_lists_what_exists_and_nothing_twice() -> None:
    assert len(set(surface.__all__)) == len(surface.__all__)
    assert all(hasattr(surface, name) for name in surface.__all__)

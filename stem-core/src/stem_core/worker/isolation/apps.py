"""Finding out how a new process can import the application of a worker.

Rule of this module: an application is found by the module that holds it, or it is not
found. Nothing of it is pickled.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType

from attrs import frozen

from stem_core.model.errors import ConfigError
from stem_core.producer.client import Stem
from stem_core.producer.registry import TaskRegistry
from stem_core.worker.isolation.terms import App, ChildTerms, cores

__all__ = ["Held", "found_in", "terms_of"]


@frozen
class Held:
    """An application that a module holds; called it imports it.

    Attributes:
        module: a dotted name; ``__main__`` for the program itself.
        name: of the Stem in it.
    """

    module: str
    name: str

    def __call__(self) -> Stem:
        found = getattr(import_module(self.module), self.name, None)
        if not isinstance(found, Stem):
            raise ConfigError(
                f"{self.module}.{self.name} is no Stem in a new process, as it is in the worker",
                way_out="Make it where the module is imported, not under a condition.",
            )
        return found


def found_in(stem: Stem) -> Held | None:
    """Return the module that holds *stem*, None when there is none that can be imported."""
    for module in list(sys.modules.values()):
        if _is_importable(module):
            for name in _names_of(stem, module):
                return Held(module.__name__, name)
    return None


def _is_importable(module: object) -> bool:
    """False for a shell, for what was typed into an interpreter, and for odd guests."""
    return type(module) is ModuleType and bool(getattr(module, "__file__", None))


def _names_of(stem: Stem, module: ModuleType) -> Iterator[str]:
    return (name for name, value in list(vars(module).items()) if value is stem)


def terms_of(stem: Stem, app: App | None, *, concurrency: int) -> ChildTerms:
    """Return how the children of a worker of *stem* are; *app* is given where somebody knows
    how it was imported.

    Raises:
        ConfigError: a task asks for a process of its own, and no process could run it.
    """
    importable, why_not = app or found_in(stem), ""
    if os.name != "posix":
        importable, why_not = None, _NO_POSIX
    elif importable is None:
        why_not = _NOT_FOUND
    asking = [name for name in stem.registry.names() if _asks(stem.registry, name)]
    if asking and why_not:
        raise ConfigError(
            f"task {asking[0]!r} has isolation='process': {why_not}", way_out=_WAY_OUT
        )
    config = stem.config
    return ChildTerms(
        app=importable,
        why_not=why_not,
        most=config.worker_children or min(concurrency, cores()),
        method=config.worker_child_start,
        max_tasks=config.worker_child_max_tasks or 0,
        max_rss=config.worker_child_max_rss or 0,
        cancel_grace_ms=config.worker_cancel_grace_ms,
        is_wanted=bool(asking),
        # An application that lives in somebody's program may need what that program has made.
        takes_suspects=app is not None and importable is not None,
    )


def _asks(registry: TaskRegistry, name: str) -> bool:
    task = registry.get(name)
    return task is not None and task.options.isolation == "process"


_NO_POSIX = "this system has no process groups, so there are no child processes here"
_NOT_FOUND = "no module holds the Stem of this worker, so a new process cannot import it"
_WAY_OUT = (
    "Make the Stem at the top of a module, or run it with `stem worker`, or tell the worker "
    "how to import it: Worker(stem, app=make_stem)."
)

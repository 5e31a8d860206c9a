"""Where tasks are kept by name, and the decorator that makes them.

Rule of this module: whatever cannot be a task is refused here, where it is decorated.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Concatenate, Final, Literal, ParamSpec, Protocol, TypeVar, Unpack, overload
from weakref import WeakSet

from stem_core.model.errors import DuplicateTask, InvalidOption, InvalidTask, UsageError
from stem_core.model.ids import check_name
from stem_core.model.options import TaskOptions, TaskOptionsDict, Unique
from stem_core.producer.binding import Binding
from stem_core.producer.built import check_built, check_unique
from stem_core.producer.context import TaskContext
from stem_core.producer.tasks import AnyTask, Sender, Task

__all__ = ["SimpleTaskRegistry", "TaskDecorator", "TaskRegistry"]

P = ParamSpec("P")
R = TypeVar("R")


_MAIN: Final = ("__main__", "__mp_main__")
"""The module of the program itself, and what `multiprocessing` calls it in a child."""


class Plain(Protocol):
    """The decorator of functions without a context."""

    @overload
    def __call__(
        self, fn: Callable[P, Coroutine[Any, Any, R]], /
    ) -> Task[P, Coroutine[Any, Any, R], P, R]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> Task[P, R, P, R]: ...


class WithContext(Protocol):
    """The decorator of functions whose first parameter is the `TaskContext`."""

    @overload
    def __call__(
        self, fn: Callable[Concatenate[TaskContext, P], Coroutine[Any, Any, R]], /
    ) -> Task[Concatenate[TaskContext, P], Coroutine[Any, Any, R], P, R]: ...
    @overload
    def __call__(
        self, fn: Callable[Concatenate[TaskContext, P], R], /
    ) -> Task[Concatenate[TaskContext, P], R, P, R]: ...


class TaskDecorator:
    """What `Stem` and `TaskRegistry` share: ``.task``."""

    @overload
    def task(
        self, fn: Callable[P, Coroutine[Any, Any, R]], /
    ) -> Task[P, Coroutine[Any, Any, R], P, R]: ...
    @overload
    def task(self, fn: Callable[P, R], /) -> Task[P, R, P, R]: ...
    @overload
    def task(
        self,
        *,
        name: str | None = None,
        aliases: Sequence[str] = (),
        context: Literal[True],
        **options: Unpack[TaskOptionsDict],
    ) -> WithContext: ...
    @overload
    def task(
        self,
        *,
        name: str | None = None,
        aliases: Sequence[str] = (),
        context: Literal[False] = False,
        **options: Unpack[TaskOptionsDict],
    ) -> Plain: ...

    def task(
        self,
        *fn: Callable[..., Any],
        name: str | None = None,
        aliases: Sequence[str] = (),
        context: bool = False,
        **options: Any,
    ) -> Any:
        """Make a task of a function: ``@stem.task`` or ``@stem.task(queue="billing")``.

        Args:
            name: how producers call it; by default ``module.function``.
            aliases: earlier names that it still answers to.
            context: the first parameter is the `TaskContext`; no caller gives it.
            options: see `TaskOptions`.
            fn: the function, when there is nothing else to say.

        Raises:
            InvalidTask: a nested function, a method, ``*args``, a type without a JSON form.
            DuplicateTask: another task has this name.
            InvalidOption: an unknown option or an impossible value.
            CapabilityMissing: an option that this release does not have.
        """
        given = TaskOptions.of(**options)

        def decorate(fn: Callable[..., Any]) -> AnyTask:
            made = make_task(fn, name=name, aliases=aliases, context=context, options=given)
            self._keep(made)
            return made

        return decorate(*fn) if fn else decorate

    def _keep(self, task: AnyTask) -> None:
        raise NotImplementedError


class TaskRegistry(TaskDecorator):
    """Tasks by name. Usable without a Stem: `Stem.include` joins them later.

    Attributes:
        version: grows with every task.
    """

    def __init__(self) -> None:
        self._tasks: dict[str, AnyTask] = {}
        self._aliases: dict[str, AnyTask] = {}
        self._sender: Sender | None = None
        self.version = 0
        self._followers: WeakSet[TaskRegistry] = WeakSet()

    def get(self, name: str) -> AnyTask | None:
        """Return the task of this name or alias, or None."""
        return self._tasks.get(name) or self._aliases.get(name)

    def names(self) -> tuple[str, ...]:
        """Return the names of all tasks, sorted; aliases are not among them."""
        return tuple(sorted(self._tasks))

    def include(self, source: TaskRegistry | ModuleType) -> None:
        """Take in the tasks of another registry, those that come later too, or of a module.

        Raises:
            DuplicateTask: a name is taken by another task.
            UsageError: a module without tasks.
        """
        if isinstance(source, TaskRegistry):
            self._follow(source)
            return
        for each in _found_in(source):
            if isinstance(each, TaskRegistry):
                self._follow(each)
            else:
                self._keep(each)

    def belong_to(self, sender: Sender) -> None:
        """Let *sender* send the calls of all tasks in here, also of those to come."""
        self._sender = sender
        for task in self._tasks.values():
            task._sender = sender

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.get(name) is not None

    def __len__(self) -> int:
        return len(self._tasks)

    def __repr__(self) -> str:
        return f"TaskRegistry({len(self)} tasks)"

    def _follow(self, source: TaskRegistry) -> None:
        for task in source._tasks.values():
            self._keep(task)
        if source is not self:
            source._followers.add(self)

    def _keep(self, task: AnyTask) -> None:
        everywhere = self._with_followers()
        for registry in everywhere:  # all are asked before one is changed
            registry._check_free(task)
        for registry in everywhere:
            registry._take(task)

    def _with_followers(self) -> list[TaskRegistry]:
        """Return this and whoever includes it, directly or not, each once."""
        found: list[TaskRegistry] = [self]
        for registry in found:  # grows while it is walked
            found += [each for each in registry._followers if each not in found]
        return found

    def _check_free(self, task: AnyTask) -> None:
        for name in (task.name, *task.aliases):
            known = self.get(name)
            if known is not None and known is not task and not _is_same_code(known, task):
                raise _duplicate(name, known, task)

    def _take(self, task: AnyTask) -> None:
        self._tasks[task.name] = task
        self._aliases.update(dict.fromkeys(task.aliases, task))
        self.version += 1
        if self._sender is not None:
            task._sender = self._sender


SimpleTaskRegistry = TaskRegistry


# ── what can be a task ───────────────────────────────────────────────────────


def make_task(
    fn: Callable[..., Any],
    *,
    name: str | None,
    aliases: Sequence[str],
    context: bool,
    options: TaskOptions,
) -> AnyTask:
    """Return the task of *fn*, or refuse it."""
    _check_function(fn)
    if not context:
        _check_no_context(fn)
    binding = Binding.of(fn, context)
    if isinstance(options.unique, Unique):
        check_unique(options.unique, binding.names, label=fn.__qualname__)
    is_async = inspect.iscoroutinefunction(fn)
    check_built(options, is_async=is_async)
    return Task(
        fn,
        name=check_name(name if name is not None else _name_of(fn), kind="task"),
        options=options,
        aliases=tuple(check_name(alias, kind="task") for alias in _names(aliases)),
        wants_context=context,
        is_async=is_async,
        binding=binding,
    )


def _names(aliases: Sequence[str]) -> Sequence[str]:
    if isinstance(aliases, str):
        raise InvalidOption(
            f"aliases={aliases!r:.60} is one text, not a list", way_out='Write aliases=["old"].'
        )
    return aliases


def _check_function(fn: Callable[..., Any]) -> None:
    given: object = fn  # callers without a type checker
    if isinstance(given, Task):
        raise InvalidTask(f"{given.name!r} is a task already", way_out="Decorate it once.")
    if not inspect.isfunction(given):
        raise InvalidTask(
            f"{given!r:.80} is not a function",
            way_out="Write @stem.task, or @stem.task(name=…), above a def or an async def.",
        )
    qualname = given.__qualname__
    if "<lambda>" in qualname:
        raise InvalidTask("a lambda has no name to call it by", way_out="Write a def.")
    if "<locals>" in qualname:
        raise InvalidTask(
            f"{qualname} is defined inside a function, where no worker can find it",
            way_out="Move it to the top of its module.",
        )
    if "." in qualname:
        raise InvalidTask(
            f"{qualname} is a method, and its object does not travel",
            way_out="Write a function at the top of the module.",
        )
    if inspect.isgeneratorfunction(given) or inspect.isasyncgenfunction(given):
        raise InvalidTask(f"{qualname} is a generator", way_out="A task returns one value.")


def _check_no_context(fn: Callable[..., Any]) -> None:
    for name, hint in inspect.get_annotations(inspect.unwrap(fn)).items():
        text = hint if isinstance(hint, str) else getattr(hint, "__name__", "")
        if text.split(".")[-1].strip("'\"") == TaskContext.__name__:
            raise InvalidTask(
                f"{fn.__qualname__}: parameter {name!r} is a TaskContext, which no caller can give",
                way_out="Write @stem.task(context=True) and make it the first parameter.",
            )


def _name_of(fn: Callable[..., Any]) -> str:
    module = fn.__module__
    return f"{_real_main(fn) if module in _MAIN else module}.{fn.__name__}"


def _real_main(fn: Callable[..., Any]) -> str:
    """Return the name under which a worker would import the program that defines *fn*."""
    known = inspect.unwrap(fn).__globals__
    if (spec := known.get("__spec__")) is not None:
        name: str = spec.name
        return name.removesuffix(".__main__")
    file = known.get("__file__")
    return Path(file).stem if file else "__main__"


# ── names ────────────────────────────────────────────────────────────────────


def _is_same_code(one: AnyTask, other: AnyTask) -> bool:
    """Return whether both are one piece of source, loaded twice (a reload)."""
    first, second = inspect.unwrap(one.fn).__code__, inspect.unwrap(other.fn).__code__
    return (first.co_filename, first.co_firstlineno, first.co_qualname) == (
        second.co_filename,
        second.co_firstlineno,
        second.co_qualname,
    )


def _duplicate(name: str, known: AnyTask, task: AnyTask) -> DuplicateTask:
    return DuplicateTask(
        f"two tasks are called {name!r}: {_where(known)} and {_where(task)}",
        way_out="Give one of them another name=.",
    )


def _where(task: AnyTask) -> str:
    code = inspect.unwrap(task.fn).__code__
    return f"{code.co_qualname} ({Path(code.co_filename).name}:{code.co_firstlineno})"


def _found_in(module: ModuleType) -> list[TaskRegistry | AnyTask]:
    given: object = module
    if not isinstance(given, ModuleType):
        raise UsageError(
            f"cannot include {given!r:.60}", way_out="Give a TaskRegistry or a module."
        )
    found = [each for each in vars(module).values() if isinstance(each, (TaskRegistry, Task))]
    if not found:
        raise UsageError(
            f"module {module.__name__} holds no task and no TaskRegistry",
            way_out="Decorate its functions with @tasks.task of a tasks = TaskRegistry().",
        )
    return found

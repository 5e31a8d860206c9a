"""How a task is run here: its function with the options that hold, worked out once.

Rule of this module: nothing in a plan belongs to one delivery, so equal options share one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from attrs import evolve, frozen

from stem_core.model.codec import options_of, options_text
from stem_core.model.envelope import Envelope
from stem_core.model.errors import CapabilityMissing
from stem_core.model.options import NOTHING_GIVEN, Defaults, Effective, TaskOptions, resolve
from stem_core.producer.built import check_built
from stem_core.producer.registry import TaskRegistry
from stem_core.producer.tasks import AnyTask

__all__ = ["Plan", "Plans"]

_MOST_KEPT: Final = 4_096


@frozen(slots=False, kw_only=True)
class Plan:
    """What a worker knows about running one task with one set of options.

    Attributes:
        task: as registered here.
        effective: the options that hold.
        in_thread, in_process: where it runs; neither means in the loop.
        is_limited: it has a time limit of any kind.
        is_plain: a coroutine in the loop, with no time limit and no context: the most
            frequent kind, which needs nothing but to be awaited.
        complaint: what this worker cannot do of what is asked for; empty when nothing.
    """

    task: AnyTask
    effective: Effective
    in_thread: bool
    in_process: bool
    is_limited: bool
    is_plain: bool
    complaint: str

    def isolated(self) -> Plan:
        """Return how the same is run in a process of its own."""
        return evolve(self, in_process=True, in_thread=False, is_plain=False)


class Plans:
    """Finds the plan for an envelope: given > registered here > defaults.

    Args:
        no_processes: why no task can have a process of its own here; empty when it can.
    """

    def __init__(
        self, registry: TaskRegistry, defaults: Defaults, *, no_processes: str = ""
    ) -> None:
        self._registry = registry
        self._defaults = defaults
        self._no_processes = no_processes
        self._plain: dict[str, Plan] = {}
        self._known: dict[tuple[str, bytes], Plan] = {}

    def names(self) -> Sequence[str]:
        """The names of the tasks that are registered here."""
        return tuple(self._registry.names())

    def of(self, envelope: Envelope) -> Plan | None:
        """Return how to run *envelope*; None when its task is unknown here."""
        if not envelope.options:
            return self._plain.get(envelope.task) or self._learn_plain(envelope.task)
        # By what is written, for the hash of options costs as much as half a decode.
        key = (envelope.task, options_text(envelope))
        return self._known.get(key) or self._learn(key, options_of(envelope))

    def _learn_plain(self, name: str) -> Plan | None:
        task = self._registry.get(name)
        if task is None:
            return None
        plan = self._plain[name] = self._plan(task, NOTHING_GIVEN)
        return plan

    def _learn(self, key: tuple[str, bytes], given: TaskOptions) -> Plan | None:
        task = self._registry.get(key[0])
        if task is None:
            return None
        if len(self._known) >= _MOST_KEPT:  # options with instants in them are never equal
            self._known.clear()
        plan = self._known[key] = self._plan(task, given)
        return plan

    def _plan(self, task: AnyTask, given: TaskOptions) -> Plan:
        effective = resolve(given, task.options, self._defaults)
        isolation = effective.isolation or ("inline" if task.is_async else "thread")
        in_loop = task.is_async and isolation == "inline"
        is_limited = effective.soft_limit_ms is not None or effective.hard_limit_ms is not None
        complaint = _complaint(task, given.over(task.options))
        if isolation == "process":
            complaint = complaint or self._no_processes
        return Plan(
            task=task,
            effective=effective,
            in_thread=isolation == "thread",
            in_process=isolation == "process",
            is_limited=is_limited,
            is_plain=in_loop and not (is_limited or task.wants_context),
            complaint=complaint,
        )


def _complaint(task: AnyTask, asked: TaskOptions) -> str:
    # Producers check the same, but those that send by name do not know the function.
    try:
        check_built(asked, is_async=task.is_async)
    except CapabilityMissing as missing:
        return missing.message
    if asked.isolation == "inline" and not task.is_async and _has_limit(asked):
        return "a plain function with isolation='inline' cannot have a time limit"
    return ""


def _has_limit(asked: TaskOptions) -> bool:
    return bool(asked.soft_time_limit or asked.hard_time_limit)

"""Which options this release has, and which this broker can honour. Pure.

Rule of this module: an option that does nothing is refused by name; none is ignored.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from stem_core.contracts.capabilities import Capabilities, Support
from stem_core.model.duration import format_ms
from stem_core.model.errors import CapabilityMissing, InvalidOption
from stem_core.model.options import UNSET, Effective, TaskOptions, Unique

__all__ = ["check_built", "check_capabilities", "check_unique"]


def check_built(options: TaskOptions, *, is_async: bool | None = None) -> None:
    """Refuse options that this release does not have; *is_async* is None when unknown.

    Raises:
        CapabilityMissing: names the option and what there is instead.
    """
    if options.rate_limit is not UNSET and options.rate_limit is not None:
        raise _not_built(f"rate_limit={options.rate_limit!r}", "Leave it out.")
    if options.ack_early is True:
        raise _not_built("ack_early=True", "Use max_retries=0 to run a task that fails only once.")
    runs_in_thread = options.isolation == "thread" or (
        options.isolation is UNSET and is_async is False
    )
    if runs_in_thread and options.hard_time_limit is not UNSET and options.hard_time_limit:
        raise CapabilityMissing(
            "hard_time_limit cannot end a thread: it needs isolation='process'",
            way_out="Give it isolation='process', or use soft_time_limit, or an async def.",
        )


def check_unique(unique: Unique, parameters: Sequence[str], *, label: str) -> None:
    """Refuse a uniqueness by names that are none of *parameters*.

    Raises:
        InvalidOption: with the nearest name.
    """
    for name in unique.by or ():
        if name not in parameters:
            near = difflib.get_close_matches(name, parameters, n=1)
            guess = f"Did you mean {near[0]!r}? " if near else ""
            raise InvalidOption(
                f"unique: {label} has no parameter {name!r:.60}",
                way_out=f"{guess}There are {', '.join(parameters) or 'none'}.",
            )


def _not_built(what: str, way_out: str) -> CapabilityMissing:
    return CapabilityMissing(f"{what} is not built yet in this release", way_out=way_out)


def check_capabilities(
    effective: Effective,
    capabilities: Capabilities,
    *,
    delay_ms: int = 0,
    is_scheduled: bool = False,
    has_chosen_id: bool = False,
) -> None:
    """Refuse what the broker cannot honour.

    Raises:
        CapabilityMissing: names the option and the capability.
    """
    if delay_ms or is_scheduled:
        _need(capabilities.delay, "delay and not_before", "delay")
    if delay_ms > capabilities.max_delay_ms:
        raise CapabilityMissing(
            f"delay={format_ms(delay_ms)}: this broker keeps messages back for at most "
            f"{format_ms(capabilities.max_delay_ms)}"
        )
    if effective.priority:
        _need(capabilities.priority, f"priority={effective.priority}", "priority")
    if effective.unique is not None:
        _need(capabilities.uniqueness, "unique", "uniqueness")
    if has_chosen_id:
        _need(capabilities.dedupe, "task_id", "dedupe")


def _need(support: Support, option: str, capability: str) -> None:
    if not support:
        raise CapabilityMissing(
            f"{option} asks for the capability {capability!r}, which this broker does not have",
            way_out="Leave the option out, or use a broker that has it.",
        )

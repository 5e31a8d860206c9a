"""What a caller or a registration asks of a task, and the one function that settles who wins.

Rule of this module: "was it given" is the only question. A field that was not
given is `UNSET`, never a default in disguise: so ``max_retries=0`` at the call
beats a registration's 5, and a producer without task code overrides nothing.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, Final, Literal, TypedDict, TypeVar, Unpack

from attrs import Attribute, field, fields_dict, frozen

from stem_core.model.duration import Duration
from stem_core.model.errors import InvalidName, InvalidOption, MalformedEnvelope
from stem_core.model.option_values import (
    MAX_RETRIES,
    UNSET,
    Isolation,
    Unset,
    instant_ms,
    int_up_to,
    is_bool,
    is_isolation,
    is_policy,
    is_rate_limit,
    span_ms,
    to_expires,
    to_hard_limit,
    to_queue,
    to_soft_limit,
    to_visibility_timeout,
)
from stem_core.model.option_wire import option_to_wire, read_options
from stem_core.model.retry import RetryPolicy
from stem_core.model.unique import Unique, Until, to_unique

__all__ = [
    "MAX_RETRIES",
    "NOTHING_GIVEN",
    "UNSET",
    "Defaults",
    "Effective",
    "Isolation",
    "PublishDict",
    "TaskOptions",
    "TaskOptionsDict",
    "Unique",
    "Unset",
    "Until",
    "resolve",
]

T = TypeVar("T")


class TaskOptionsDict(TypedDict, total=False):
    """The keywords of `TaskOptions`, for decorators and `.using`."""

    queue: str
    max_retries: int
    retry_policy: RetryPolicy
    priority: int
    isolation: Isolation
    visibility_timeout: Duration
    soft_time_limit: Duration | None
    hard_time_limit: Duration | None
    expires: Duration | datetime | None
    unique: bool | tuple[str, ...] | Unique
    rate_limit: str | None
    ack_early: bool
    ignore_result: bool


class PublishDict(TaskOptionsDict, total=False):
    """All that one call can say beside the task's own arguments."""

    delay: Duration
    not_before: datetime
    headers: Mapping[str, str]
    meta: Mapping[str, Any]
    connection: object
    task_id: str


def _after_soft(options: TaskOptions, _: Attribute[Any], hard: timedelta | Unset | None) -> None:
    soft = options.soft_time_limit
    if isinstance(soft, timedelta) and isinstance(hard, timedelta) and soft >= hard:
        raise InvalidOption(
            f"soft_time_limit={soft} is not before hard_time_limit={hard}",
            way_out="Leave the task some time between the two to clean up.",
        )


@frozen(slots=False, kw_only=True, repr=False)
class TaskOptions:
    """What was asked of a task. A field that was not given is `UNSET`.

    Where None is allowed it is an answer too: "no limit", whatever the
    registration says.

    Attributes:
        queue: where it waits.
        max_retries: runs after the first that failed; 0 means run once.
        retry_policy: how long to wait before a retry, and for which errors.
        priority: 0 (last) to 9 (first).
        isolation: see `Isolation`.
        visibility_timeout: length of a lease; renewed while the task runs.
        soft_time_limit: the task is told to end (`SoftTimeLimitExceeded`).
        hard_time_limit: the task is ended.
        expires: not started later than this: a span from the enqueue, or an instant.
        unique: see `Unique`; a tuple names the arguments that are compared.
        rate_limit: starts per second, minute, hour or day, such as ``"10/s"``.
        ack_early: forget the message when it starts: at most once instead of at least once.
        ignore_result: remember no value.
    """

    queue: str | Unset = field(default=UNSET, converter=to_queue)
    max_retries: int | Unset = field(default=UNSET, validator=int_up_to(MAX_RETRIES))
    retry_policy: RetryPolicy | Unset = field(default=UNSET, validator=is_policy)
    priority: int | Unset = field(default=UNSET, validator=int_up_to(9))
    isolation: Isolation | Unset = field(default=UNSET, validator=is_isolation)
    visibility_timeout: timedelta | Unset = field(default=UNSET, converter=to_visibility_timeout)
    soft_time_limit: timedelta | Unset | None = field(default=UNSET, converter=to_soft_limit)
    hard_time_limit: timedelta | Unset | None = field(
        default=UNSET, converter=to_hard_limit, validator=_after_soft
    )
    expires: timedelta | datetime | Unset | None = field(default=UNSET, converter=to_expires)
    unique: Unique | Literal[False] | Unset = field(default=UNSET, converter=to_unique)
    rate_limit: str | Unset | None = field(default=UNSET, validator=is_rate_limit)
    ack_early: bool | Unset = field(default=UNSET, validator=is_bool)
    ignore_result: bool | Unset = field(default=UNSET, validator=is_bool)

    @classmethod
    def of(cls, **given: Unpack[TaskOptionsDict]) -> TaskOptions:
        """Return the options *given* by keyword.

        Raises:
            InvalidOption: an unknown name, with the nearest one, or an impossible value.
        """
        for name in given:
            if name not in _FIELDS:
                raise _unknown_option(name)
        return cls(**given)

    def over(self, lower: TaskOptions) -> TaskOptions:
        """Return these options, and for what they leave open those of *lower*.

        Never refuses: a soft limit of one may come behind the hard limit of the
        other, which then ends the task first.
        """
        if not lower._set or self is lower:
            return self
        if not self._set:
            return lower
        # All values were checked when the two were made.
        merged = object.__new__(TaskOptions)
        values = {**NOTHING_GIVEN._all, **lower._set, **self._set}
        object.__setattr__(merged, "__dict__", values)
        return merged

    def given(self) -> dict[str, Any]:
        """Return what was given as a JSON object, spans in milliseconds.

        Always the same object for one instance: read it, do not change it.
        """
        return self._wire

    @classmethod
    def from_given(cls, wire: object) -> TaskOptions:
        """Return the options that `given` wrote.

        Raises:
            MalformedEnvelope: an unknown option, a wrong type or an impossible value.
        """
        if type(wire) is not dict:
            raise MalformedEnvelope(f"options are an object, got {type(wire).__name__}")
        if not wire:
            return NOTHING_GIVEN
        try:
            return cls(**read_options(wire))
        except (InvalidOption, InvalidName, OverflowError) as error:
            raise MalformedEnvelope(f"options: {error}") from error

    @cached_property
    def _all(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _FIELDS}

    @cached_property
    def _set(self) -> dict[str, Any]:
        return {name: value for name, value in self._all.items() if value is not UNSET}

    @cached_property
    def _wire(self) -> dict[str, Any]:
        return dict(option_to_wire(name, value) for name, value in self._set.items())

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self._set.items())
        return f"TaskOptions({shown})"


_FIELDS: Final = tuple(fields_dict(TaskOptions))
_CALL_ONLY: Final = PublishDict.__optional_keys__ - TaskOptionsDict.__optional_keys__

NOTHING_GIVEN: Final = TaskOptions()
"""No option was given."""


def _unknown_option(name: str) -> InvalidOption:
    if name in _CALL_ONLY:
        return InvalidOption(
            f"{name} is no option of a task: it belongs to one call",
            way_out=f"Write task.using({name}=…).enqueue(…).",
        )
    near = difflib.get_close_matches(name, _FIELDS, n=1)
    guess = f"Did you mean {near[0]!r}? " if near else ""
    return InvalidOption(
        f"{name!r:.60} is no option", way_out=f"{guess}The options are {', '.join(_FIELDS)}."
    )


# ── who wins ─────────────────────────────────────────────────────────────────


@frozen(kw_only=True)
class Defaults:
    """What holds when nobody gave anything.

    Attributes:
        queue, max_retries, priority, retry_policy: as in `TaskOptions`.
        lease_ms: the visibility timeout.
        isolation: None means ``inline`` for ``async def`` and ``thread`` for ``def``.
    """

    queue: str = "default"
    max_retries: int = 3
    lease_ms: int = 30_000
    priority: int = 0
    isolation: Isolation | None = None
    retry_policy: RetryPolicy = field(factory=RetryPolicy)


@frozen(slots=False, kw_only=True)
class Effective:
    """The options that hold for one task, every question answered.

    Attributes:
        queue, max_retries, retry_policy, priority, rate_limit, ack_early,
            ignore_result: as in `TaskOptions`.
        isolation: None means ``inline`` for ``async def`` and ``thread`` for ``def``.
        lease_ms: the visibility timeout.
        soft_limit_ms, hard_limit_ms: the time limits; None for no limit.
        expires_ms: counted from the enqueue; None when not given so.
        expires_at_ms: since the Unix epoch; None when not given so.
        unique: None for not unique.
    """

    queue: str
    max_retries: int
    retry_policy: RetryPolicy
    priority: int
    isolation: Isolation | None
    lease_ms: int
    soft_limit_ms: int | None
    hard_limit_ms: int | None
    expires_ms: int | None
    expires_at_ms: int | None
    unique: Unique | None
    rate_limit: str | None
    ack_early: bool
    ignore_result: bool


def resolve(
    given: TaskOptions,
    registered: TaskOptions,
    defaults: Defaults,
    routed_queue: str | None = None,
) -> Effective:
    """Return the options that hold: *given*, else *registered*, else *defaults*.

    For the queue alone *routed_queue* comes before the defaults.
    """
    asked = given.over(registered)
    expires = _or(asked.expires, None)
    lease = asked.visibility_timeout
    return Effective(
        queue=_or(asked.queue, routed_queue or defaults.queue),
        max_retries=_or(asked.max_retries, defaults.max_retries),
        retry_policy=_or(asked.retry_policy, defaults.retry_policy),
        priority=_or(asked.priority, defaults.priority),
        isolation=_or(asked.isolation, defaults.isolation),
        lease_ms=defaults.lease_ms if lease is UNSET else span_ms(lease),
        soft_limit_ms=_limit_ms(asked.soft_time_limit),
        hard_limit_ms=_limit_ms(asked.hard_time_limit),
        expires_ms=span_ms(expires) if isinstance(expires, timedelta) else None,
        expires_at_ms=instant_ms(expires) if isinstance(expires, datetime) else None,
        unique=asked.unique or None,
        rate_limit=_or(asked.rate_limit, None),
        ack_early=_or(asked.ack_early, False),
        ignore_result=_or(asked.ignore_result, False),
    )


def _or(value: T | Unset, fallback: T) -> T:
    return fallback if value is UNSET else value


def _limit_ms(value: timedelta | Unset | None) -> int | None:
    return None if value is UNSET or value is None else span_ms(value)

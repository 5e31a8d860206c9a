"""What a caller or a registration asks of a task, and the one function that settles who wins.

Rule of this module: "was it given" is the only question. A field that was not
given is `UNSET`, never a default in disguise: so ``max_retries=0`` at the call
beats a registration's 5, and a producer without task code overrides nothing.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import cached_property
from typing import Any, Final, Literal, TypeAlias, TypedDict, TypeVar, Unpack, get_args

from attrs import Attribute, field, fields_dict, frozen

from stem_core.model.duration import Duration, to_ms
from stem_core.model.errors import InvalidName, InvalidOption, MalformedEnvelope
from stem_core.model.ids import check_name
from stem_core.model.retry import RetryPolicy

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
    "shown",
]

T = TypeVar("T")

Isolation: TypeAlias = Literal["inline", "thread", "process"]
"""Where a task runs: in the event loop, in a thread, in a child process of its own."""

Until: TypeAlias = Literal["finished", "started", "window"]
"""What frees a unique key: the end of the task, its first start, or only time."""

MAX_RETRIES: Final = 1_000_000
"""Most retries that can be asked for: beyond it a task is not retried but immortal."""

_MILLISECOND: Final = timedelta(milliseconds=1)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_is_rate: Final = re.compile(r"[1-9][0-9]{0,8}/[smhd]").fullmatch


class Unset(Enum):
    """The type of `UNSET`, so that checkers can tell "not given" from every value."""

    UNSET = "unset"

    def __repr__(self) -> str:
        return "UNSET"

    def __bool__(self) -> Literal[False]:
        return False


UNSET: Final = Unset.UNSET
"""Not given."""


# ── uniqueness ───────────────────────────────────────────────────────────────


def _names(value: tuple[str, ...] | None) -> tuple[str, ...] | None:
    if value is None:
        return None
    given: object = value  # callers without a type checker, and the wire
    usable = isinstance(given, (tuple, list)) and all(
        type(name) is str and name.isidentifier() for name in given
    )
    if not usable or not value or len(set(value)) < len(value):
        raise InvalidOption(
            f"unique: by={value!r:.80} is not a tuple of different argument names",
            way_out='Write by=("customer_id",), or leave it out to compare all arguments.',
        )
    return tuple(value)


def _window(value: Duration | None) -> timedelta | None:
    return None if value is None else _span(value, "window", minimum_ms=1)


def _is_until(_: object, __: Attribute[Any], value: object) -> None:
    _one_of("unique: until", value, get_args(Until))


def _fits_until(unique: Unique, _: Attribute[Any], window: timedelta | None) -> None:
    if (window is None) == (unique.until == "window"):
        raise InvalidOption(
            f"unique: until={unique.until!r} with window={window}",
            way_out='Give a window together with until="window", and only then.',
        )


@frozen(kw_only=True)
class Unique:
    """At most one live task with these arguments.

    Attributes:
        by: the arguments that are compared; None for all of them.
        until: what ends it: the task is ``finished`` in whatever way, has
            ``started``, or the ``window`` of time is over.
        window: with ``until="window"``, and only then: how long, from the enqueue.
    """

    by: tuple[str, ...] | None = field(default=None, converter=_names)
    until: Until = field(default="finished", validator=_is_until)
    window: timedelta | None = field(default=None, converter=_window, validator=_fits_until)

    def to_wire(self) -> dict[str, Any]:
        """Return it as a JSON object, every field in it."""
        return {
            "by": None if self.by is None else list(self.by),
            "until": self.until,
            "window_ms": None if self.window is None else _ms(self.window),
        }


# ── converters and validators: what may be given ─────────────────────────────


def _span(value: Duration, name: str, *, minimum_ms: int) -> timedelta:
    return timedelta(milliseconds=to_ms(value, field=name, minimum_ms=minimum_ms))


def _ms(span: timedelta) -> int:
    return span // _MILLISECOND


def shown(value: object) -> str:
    """Return *value* for a message, short; enormous integers refuse to be printed."""
    enormous = isinstance(value, int) and abs(value) >> 64
    return "an enormous number" if enormous else f"{value!r:.60}"


def _one_of(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if type(value) is str and value in allowed:
        return
    near = difflib.get_close_matches(str(value), allowed, n=1) if isinstance(value, str) else []
    guess = f"Did you mean {near[0]!r}? " if near else ""
    raise InvalidOption(
        f"{name}={shown(value)} is not known", way_out=f"{guess}Choose one of {', '.join(allowed)}."
    )


def _queue(value: str | Unset) -> str | Unset:
    return value if value is UNSET else check_name(value, kind="queue")


def _visibility_timeout(value: Duration | Unset) -> timedelta | Unset:
    return value if value is UNSET else _span(value, "visibility_timeout", minimum_ms=1)


def _limit(value: Duration | Unset | None, name: str) -> timedelta | Unset | None:
    return value if value is UNSET or value is None else _span(value, name, minimum_ms=1)


def _soft_time_limit(value: Duration | Unset | None) -> timedelta | Unset | None:
    return _limit(value, "soft_time_limit")


def _hard_time_limit(value: Duration | Unset | None) -> timedelta | Unset | None:
    return _limit(value, "hard_time_limit")


def _expires(value: Duration | datetime | Unset | None) -> timedelta | datetime | Unset | None:
    if value is UNSET or value is None:
        return value
    if not isinstance(value, datetime):
        return _span(value, "expires", minimum_ms=1)
    if value.utcoffset() is None:
        raise InvalidOption(
            f"expires={value!r} has no time zone",
            way_out="Use datetime.now(UTC) + …, or give a duration from the enqueue.",
        )
    # Whole milliseconds, as on the wire: equal before and after the journey.
    return _EPOCH + (value - _EPOCH) // _MILLISECOND * _MILLISECOND


def _unique(value: bool | tuple[str, ...] | Unique | Unset) -> Unique | Literal[False] | Unset:
    match value:
        case Unset() | Unique():
            return value
        case True:
            return Unique()
        case False:
            return False
        case tuple() | list():
            return Unique(by=value)
    raise InvalidOption(
        f"unique={shown(value)} says nothing",
        way_out='Write True, False, a tuple of argument names ("customer_id",) or Unique(…).',
    )


def _is_bool(_: object, attribute: Attribute[Any], value: object) -> None:
    if value is not UNSET and type(value) is not bool:
        raise InvalidOption(f"{attribute.name}={shown(value)} is neither True nor False")


def _int_up_to(limit: int) -> Callable[[object, Attribute[Any], object], None]:
    def check(_: object, attribute: Attribute[Any], value: object) -> None:
        if value is UNSET or (type(value) is int and 0 <= value <= limit):
            return
        raise InvalidOption(
            f"{attribute.name}={shown(value)} is not a whole number from 0 to {limit}",
            way_out=_INT_HELP[attribute.name],
        )

    return check


_INT_HELP: Final = {
    "max_retries": "It counts retries after the first run: 0 means run once.",
    "priority": "9 runs first, 0 last.",
}


def _is_policy(_: object, attribute: Attribute[Any], value: object) -> None:
    if value is not UNSET and not isinstance(value, RetryPolicy):
        raise InvalidOption(
            f"{attribute.name}={shown(value)} is not a RetryPolicy",
            way_out='Write retry_policy=RetryPolicy(base="1s", cap="5m").',
        )


def _is_isolation(_: object, attribute: Attribute[Any], value: object) -> None:
    if value is not UNSET:
        _one_of(attribute.name, value, get_args(Isolation))


def _is_rate_limit(_: object, attribute: Attribute[Any], value: object) -> None:
    if value is UNSET or value is None or (type(value) is str and _is_rate(value)):
        return
    raise InvalidOption(
        f"{attribute.name}={shown(value)} is not a rate",
        way_out='Write a count per second, minute, hour or day: "10/s", "100/m", "5000/h", "9/d".',
    )


def _after_soft(options: TaskOptions, _: Attribute[Any], hard: timedelta | Unset | None) -> None:
    soft = options.soft_time_limit
    if isinstance(soft, timedelta) and isinstance(hard, timedelta) and soft >= hard:
        raise InvalidOption(
            f"soft_time_limit={soft} is not before hard_time_limit={hard}",
            way_out="Leave the task some time between the two to clean up.",
        )


# ── the options ──────────────────────────────────────────────────────────────


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

    queue: str | Unset = field(default=UNSET, converter=_queue)
    max_retries: int | Unset = field(default=UNSET, validator=_int_up_to(MAX_RETRIES))
    retry_policy: RetryPolicy | Unset = field(default=UNSET, validator=_is_policy)
    priority: int | Unset = field(default=UNSET, validator=_int_up_to(9))
    isolation: Isolation | Unset = field(default=UNSET, validator=_is_isolation)
    visibility_timeout: timedelta | Unset = field(default=UNSET, converter=_visibility_timeout)
    soft_time_limit: timedelta | Unset | None = field(default=UNSET, converter=_soft_time_limit)
    hard_time_limit: timedelta | Unset | None = field(
        default=UNSET, converter=_hard_time_limit, validator=_after_soft
    )
    expires: timedelta | datetime | Unset | None = field(default=UNSET, converter=_expires)
    unique: Unique | Literal[False] | Unset = field(default=UNSET, converter=_unique)
    rate_limit: str | Unset | None = field(default=UNSET, validator=_is_rate_limit)
    ack_early: bool | Unset = field(default=UNSET, validator=_is_bool)
    ignore_result: bool | Unset = field(default=UNSET, validator=_is_bool)

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
            return cls(**_read_options(wire))
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
        return dict(_to_wire(name, value) for name, value in self._set.items())

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


# ── the wire form ────────────────────────────────────────────────────────────


def _to_wire(name: str, value: Any) -> tuple[str, Any]:
    match value:
        case timedelta():
            return f"{name}_ms", _ms(value)
        case datetime():
            return f"{name}_at_ms", (value - _EPOCH) // _MILLISECOND
        case RetryPolicy() | Unique():
            return name, value.to_wire()
        case None if name in _SPANS:
            return f"{name}_ms", None
    return name, value


_SPANS: Final = frozenset({"visibility_timeout", "soft_time_limit", "hard_time_limit", "expires"})


def _read_options(wire: dict[str, Any]) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for key, value in wire.items():
        reader = _READERS.get(key)
        if reader is None:
            raise MalformedEnvelope(f"options: {key!r:.60} is not known to this release")
        name, read = reader
        if name in given:
            raise MalformedEnvelope(f"options: {name} is given twice")
        given[name] = read(value)
    return given


def _as_it_is(value: object) -> object:
    return value


def _read_text(value: object) -> str:
    if type(value) is not str:
        raise MalformedEnvelope(f"options: expected a text, got {type(value).__name__}")
    return value


def _read_span(value: object) -> timedelta:
    return timedelta(milliseconds=_exactly_int(value))


def _read_limit(value: object) -> timedelta | None:
    return None if value is None else _read_span(value)


def _read_instant(value: object) -> datetime:
    return _EPOCH + timedelta(milliseconds=_exactly_int(value))


def _exactly_int(value: object) -> int:
    if type(value) is not int:
        raise MalformedEnvelope(f"options: expected milliseconds, got {type(value).__name__}")
    return value


def _read_unique(value: object) -> Unique | Literal[False]:
    if value is False:
        return False
    if type(value) is not dict or value.keys() != {"by", "until", "window_ms"}:
        raise MalformedEnvelope("options: unique is false, or an object of by, until, window_ms")
    return Unique(by=value["by"], until=value["until"], window=_read_limit(value["window_ms"]))


_READERS: Final[Mapping[str, tuple[str, Callable[[object], object]]]] = {
    "queue": ("queue", _read_text),
    "max_retries": ("max_retries", _as_it_is),
    "retry_policy": ("retry_policy", RetryPolicy.from_wire),
    "priority": ("priority", _as_it_is),
    "isolation": ("isolation", _as_it_is),
    "visibility_timeout_ms": ("visibility_timeout", _read_span),
    "soft_time_limit_ms": ("soft_time_limit", _read_limit),
    "hard_time_limit_ms": ("hard_time_limit", _read_limit),
    "expires_ms": ("expires", _read_limit),
    "expires_at_ms": ("expires", _read_instant),
    "unique": ("unique", _read_unique),
    "rate_limit": ("rate_limit", _as_it_is),
    "ack_early": ("ack_early", _as_it_is),
    "ignore_result": ("ignore_result", _as_it_is),
}


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
        lease_ms=defaults.lease_ms if lease is UNSET else _ms(lease),
        soft_limit_ms=_limit_ms(asked.soft_time_limit),
        hard_limit_ms=_limit_ms(asked.hard_time_limit),
        expires_ms=_ms(expires) if isinstance(expires, timedelta) else None,
        expires_at_ms=(expires - _EPOCH) // _MILLISECOND if isinstance(expires, datetime) else None,
        unique=asked.unique or None,
        rate_limit=_or(asked.rate_limit, None),
        ack_early=_or(asked.ack_early, False),
        ignore_result=_or(asked.ignore_result, False),
    )


def _or(value: T | Unset, fallback: T) -> T:
    return fallback if value is UNSET else value


def _limit_ms(value: timedelta | Unset | None) -> int | None:
    return None if value is UNSET or value is None else _ms(value)

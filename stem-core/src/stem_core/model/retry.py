"""What follows a failed attempt: a policy, and one pure decision.

Rule of this module: a decision is a value. Exceptions appear here as names
only, so that a policy can cross the wire without ever importing anything.
"""

from __future__ import annotations

import builtins
import difflib
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Literal

from attrs import field, frozen

from stem_core.model.duration import Duration, format_ms, to_ms
from stem_core.model.errors import InvalidOption, MalformedEnvelope, Retry
from stem_core.model.value import Value

__all__ = ["GiveUp", "RetryAfter", "RetryPolicy", "decide", "names_of"]

ExceptionType = type[Exception] | str
"""An exception's type, or its name: ``"module.QualName"``, or bare for a built-in one."""

_MAX_MULTIPLIER: Final = 1000.0
_MAX_TYPES: Final = 64
_MAX_TYPE_NAME: Final = 256
_ASKED: Final = f"{Retry.__module__}.{Retry.__qualname__}"


@frozen(init=False)
class RetryPolicy:
    """How long to wait before the next attempt, and which errors get one.

    The *n*-th wait is ``base × multiplier^(n-1)``, at most *cap*; with *jitter* it
    is a uniform share of that, from nothing to all of it ("full jitter").

    Attributes:
        base_ms, cap_ms: given as ``base=`` and ``cap=`` in any form of `Duration`.
        multiplier: 1.0 to 1000.0.
        jitter: spread the waits, so that tasks that failed together do not return together.
        retry_on: names of the only errors (and their subclasses) to retry; empty means all.
        never_retry_on: names of errors that get no further attempt; wins over *retry_on*.
    """

    base_ms: int
    cap_ms: int
    multiplier: float
    jitter: bool
    retry_on: tuple[str, ...] = field(factory=tuple)
    never_retry_on: tuple[str, ...] = field(factory=tuple)

    if TYPE_CHECKING:  # attrs writes it

        def __attrs_init__(self, **values: Any) -> None: ...

    # Written by hand: users give spans and classes, the fields hold milliseconds and names.
    def __init__(
        self,
        *,
        base: Duration = "1s",
        cap: Duration = "5m",
        multiplier: float = 2.0,
        jitter: bool = True,
        retry_on: Iterable[ExceptionType] = (),
        never_retry_on: Iterable[ExceptionType] = (),
    ) -> None:
        base_ms, cap_ms = to_ms(base, field="base"), to_ms(cap, field="cap")
        if cap_ms < base_ms:
            raise InvalidOption(
                f"cap={format_ms(cap_ms)} is shorter than base={format_ms(base_ms)}",
                way_out="Give a cap= of at least the base.",
            )
        self.__attrs_init__(
            base_ms=base_ms,
            cap_ms=cap_ms,
            multiplier=_multiplier(multiplier),
            jitter=_flag(jitter),
            retry_on=_type_names(retry_on, option="retry_on"),
            never_retry_on=_type_names(never_retry_on, option="never_retry_on"),
        )

    def to_wire(self) -> dict[str, Any]:
        """Return the policy as a JSON object. All fields are in it: defaults may change."""
        return {
            "base_ms": self.base_ms,
            "cap_ms": self.cap_ms,
            "multiplier": self.multiplier,
            "jitter": self.jitter,
            "retry_on": list(self.retry_on),
            "never_retry_on": list(self.never_retry_on),
        }

    @classmethod
    def from_wire(cls, wire: object) -> RetryPolicy:
        """Return the policy that `to_wire` wrote.

        Raises:
            MalformedEnvelope: anything else.
        """
        if not isinstance(wire, dict) or wire.keys() != _WIRE.keys():
            raise MalformedEnvelope(f"a retry policy is an object of {', '.join(_WIRE)}")
        for name, kinds in _WIRE.items():
            if type(wire[name]) not in kinds:
                raise MalformedEnvelope(f"retry policy: {name} has the wrong type")
        try:
            return cls(
                base=_span(wire, "base_ms"),
                cap=_span(wire, "cap_ms"),
                multiplier=wire["multiplier"],
                jitter=wire["jitter"],
                retry_on=_full_names(wire["retry_on"]),
                never_retry_on=_full_names(wire["never_retry_on"]),
            )
        except (InvalidOption, OverflowError) as error:
            raise MalformedEnvelope(f"retry policy: {error}") from error


_WIRE: Final[Mapping[str, tuple[type, ...]]] = {
    "base_ms": (int,),
    "cap_ms": (int,),
    "multiplier": (int, float),
    "jitter": (bool,),
    "retry_on": (list,),
    "never_retry_on": (list,),
}


class RetryAfter(Value, frozen=True, gc=False):
    """Run it again, *delay_ms* from now."""

    delay_ms: int


class GiveUp(Value, frozen=True, gc=False):
    """No further attempt, and why: the retries are used up, or the policy rules this error out."""

    reason: Literal["max-retries-exhausted", "never-retry-on"]


def decide(
    policy: RetryPolicy,
    *,
    max_retries: int,
    attempt: int,
    error_names: Sequence[str],
    dice: float,
    asked_after_ms: int | None = None,
) -> RetryAfter | GiveUp:
    """Return what follows the failed *attempt* (1-based).

    *max_retries* counts attempts after the first: 3 means at most 4 executions.
    *error_names* is `names_of` the error's type; *dice* is uniform in [0, 1).
    *asked_after_ms* is the wait that the task itself asked for: it replaces the
    policy's wait and its lists, and still spends an attempt.
    """
    asked = asked_after_ms is not None or _ASKED in error_names
    if not asked and not _is_retried(policy, error_names):
        return GiveUp("never-retry-on")
    if attempt > max_retries:
        return GiveUp("max-retries-exhausted")
    if asked_after_ms is not None:
        return RetryAfter(asked_after_ms)
    ceiling_ms = _ceiling_ms(policy, attempt)
    return RetryAfter(int(ceiling_ms * dice) if policy.jitter else ceiling_ms)


def names_of(error: type[BaseException]) -> tuple[str, ...]:
    """Return the names of *error* and all its bases, nearest first: ``"builtins.ValueError"``."""
    return tuple(_name_of(kind) for kind in error.__mro__)


def _is_retried(policy: RetryPolicy, error_names: Sequence[str]) -> bool:
    if any(name in policy.never_retry_on for name in error_names):
        return False
    return not policy.retry_on or any(name in policy.retry_on for name in error_names)


def _ceiling_ms(policy: RetryPolicy, attempt: int) -> int:
    if policy.base_ms == 0:
        return 0
    try:
        return int(min(policy.cap_ms, policy.base_ms * policy.multiplier ** (attempt - 1)))
    except OverflowError:  # the power outgrew a float, so it outgrew the cap
        return policy.cap_ms


# ── what users give ──────────────────────────────────────────────────────────


def _multiplier(value: float) -> float:
    if type(value) not in (int, float) or not 1.0 <= value <= _MAX_MULTIPLIER:
        shown = f"={value!r:.60}" if not isinstance(value, int) else ""
        raise InvalidOption(f"multiplier{shown} is not a number from 1.0 to 1000.0")
    return float(value)


def _flag(value: bool) -> bool:
    if type(value) is not bool:
        raise InvalidOption(f"jitter={value!r:.60} is neither True nor False")
    return value


def _type_names(given: Iterable[ExceptionType], *, option: str) -> tuple[str, ...]:
    if isinstance(given, (str, type)):
        raise InvalidOption(
            f"{option} is a tuple of exception types, got one", way_out=f"Write {option}=(…,)."
        )
    names = tuple(dict.fromkeys(_type_name(kind, option=option) for kind in given))
    if len(names) > _MAX_TYPES:
        raise InvalidOption(f"{option} has {len(names)} types, more than {_MAX_TYPES}")
    return names


def _type_name(kind: ExceptionType, *, option: str) -> str:
    if isinstance(kind, str) and len(kind) <= _MAX_TYPE_NAME:
        if kind in _BUILTIN:
            return f"builtins.{kind}"
        if "." in kind and all(map(_is_part, kind.split("."))):
            return kind
    elif isinstance(kind, type) and issubclass(kind, Exception):
        return _name_of(kind)
    shown = f"{kind!r:.60}"
    raise InvalidOption(f"{option}: {shown} is not an exception type", way_out=_hint(kind))


def _hint(kind: object) -> str:
    near = difflib.get_close_matches(kind, _BUILTIN, n=1) if isinstance(kind, str) else []
    guess = f"Did you mean {near[0]!r}? " if near else ""
    return f'{guess}Give a subclass of Exception or its name as "module.QualName".'


def _name_of(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _is_part(part: str) -> bool:
    return part.isidentifier() or part == "<locals>"


_BUILTIN: Final = frozenset(
    name
    for name, kind in vars(builtins).items()
    if isinstance(kind, type) and issubclass(kind, Exception)
)


# ── what the wire gives ──────────────────────────────────────────────────────


def _span(wire: Mapping[str, Any], name: str) -> timedelta:
    return timedelta(milliseconds=wire[name])


def _full_names(names: list[object]) -> list[str]:
    full = [name for name in names if isinstance(name, str) and "." in name]
    if len(full) != len(names):
        raise InvalidOption('exception types on the wire are texts, "module.QualName"')
    return full

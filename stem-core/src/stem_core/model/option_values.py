"""What one option may be: "not given", and the converter or validator of every option.

Rule of this module: one value at a time. What two options mean together is `options`'
business. A refusal names the option, the value and the way out.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, Final, Literal, TypeAlias, get_args

from attrs import Attribute

from stem_core.model.duration import Duration, to_ms
from stem_core.model.errors import InvalidOption
from stem_core.model.ids import check_name
from stem_core.model.retry import RetryPolicy

__all__ = [
    "MAX_RETRIES",
    "UNSET",
    "Isolation",
    "Unset",
    "instant_ms",
    "instant_of",
    "int_up_to",
    "is_bool",
    "is_isolation",
    "is_policy",
    "is_rate_limit",
    "one_of",
    "shown",
    "span_ms",
    "to_expires",
    "to_hard_limit",
    "to_queue",
    "to_soft_limit",
    "to_span",
    "to_visibility_timeout",
]

Isolation: TypeAlias = Literal["inline", "thread", "process"]
"""Where a task runs: in the event loop, in a thread, in a child process of its own."""

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


def to_span(value: Duration, name: str, *, minimum_ms: int) -> timedelta:
    """Return *value* as a span of whole milliseconds, at least *minimum_ms*."""
    return timedelta(milliseconds=to_ms(value, field=name, minimum_ms=minimum_ms))


def span_ms(span: timedelta) -> int:
    """Return *span* in milliseconds, rounded down."""
    return span // _MILLISECOND


def instant_ms(instant: datetime) -> int:
    """Return *instant*, which is aware, in milliseconds since the Unix epoch, rounded down."""
    return (instant - _EPOCH) // _MILLISECOND


def instant_of(ms: int) -> datetime:
    """Return the instant *ms* milliseconds after the Unix epoch, in UTC."""
    return _EPOCH + timedelta(milliseconds=ms)


def shown(value: object) -> str:
    """Return *value* for a message, short; enormous integers refuse to be printed."""
    enormous = isinstance(value, int) and abs(value) >> 64
    return "an enormous number" if enormous else f"{value!r:.60}"


def one_of(name: str, value: object, allowed: tuple[str, ...]) -> None:
    """Refuse *value* unless it is one of the *allowed* texts; tells the nearest."""
    if type(value) is str and value in allowed:
        return
    near = difflib.get_close_matches(str(value), allowed, n=1) if isinstance(value, str) else []
    guess = f"Did you mean {near[0]!r}? " if near else ""
    raise InvalidOption(
        f"{name}={shown(value)} is not known", way_out=f"{guess}Choose one of {', '.join(allowed)}."
    )


def to_queue(value: str | Unset) -> str | Unset:
    """Return a checked name."""
    return value if value is UNSET else check_name(value, kind="queue")


def to_visibility_timeout(value: Duration | Unset) -> timedelta | Unset:
    """Return a positive span; there is no lease without an end."""
    return value if value is UNSET else to_span(value, "visibility_timeout", minimum_ms=1)


def _limit(value: Duration | Unset | None, name: str) -> timedelta | Unset | None:
    return value if value is UNSET or value is None else to_span(value, name, minimum_ms=1)


def to_soft_limit(value: Duration | Unset | None) -> timedelta | Unset | None:
    """Return a positive span, or None for no limit."""
    return _limit(value, "soft_time_limit")


def to_hard_limit(value: Duration | Unset | None) -> timedelta | Unset | None:
    """Return a positive span, or None for no limit."""
    return _limit(value, "hard_time_limit")


def to_expires(value: Duration | datetime | Unset | None) -> timedelta | datetime | Unset | None:
    """Return a positive span from the enqueue, an instant in UTC, or None for never."""
    if value is UNSET or value is None:
        return value
    if not isinstance(value, datetime):
        return to_span(value, "expires", minimum_ms=1)
    if value.utcoffset() is None:
        raise InvalidOption(
            f"expires={value!r} has no time zone",
            way_out="Use datetime.now(UTC) + …, or give a duration from the enqueue.",
        )
    # Whole milliseconds, as on the wire: equal before and after the journey.
    return instant_of(instant_ms(value))


def is_bool(_: object, attribute: Attribute[Any], value: object) -> None:
    """Refuse what is neither True nor False, 0 and 1 too."""
    if value is not UNSET and type(value) is not bool:
        raise InvalidOption(f"{attribute.name}={shown(value)} is neither True nor False")


def int_up_to(limit: int) -> Callable[[object, Attribute[Any], object], None]:
    """Return the validator of whole numbers from 0 to *limit*; True is no number."""

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


def is_policy(_: object, attribute: Attribute[Any], value: object) -> None:
    """Refuse what is no `RetryPolicy`."""
    if value is not UNSET and not isinstance(value, RetryPolicy):
        raise InvalidOption(
            f"{attribute.name}={shown(value)} is not a RetryPolicy",
            way_out='Write retry_policy=RetryPolicy(base="1s", cap="5m").',
        )


def is_isolation(_: object, attribute: Attribute[Any], value: object) -> None:
    """Refuse what is no `Isolation`."""
    if value is not UNSET:
        one_of(attribute.name, value, get_args(Isolation))


def is_rate_limit(_: object, attribute: Attribute[Any], value: object) -> None:
    """Refuse what is no rate such as ``"10/s"``; None is no limit."""
    if value is UNSET or value is None or (type(value) is str and _is_rate(value)):
        return
    raise InvalidOption(
        f"{attribute.name}={shown(value)} is not a rate",
        way_out='Write a count per second, minute, hour or day: "10/s", "100/m", "5000/h", "9/d".',
    )

"""Uniqueness: at most one live task with the same arguments.

Rule of this module: what is compared and for how long, as a value; who holds the key
is the broker's business.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Literal, TypeAlias, get_args

from attrs import Attribute, field, frozen

from stem_core.model.duration import Duration
from stem_core.model.errors import InvalidOption
from stem_core.model.option_values import Unset, one_of, shown, span_ms, to_span

__all__ = ["Unique", "Until", "to_unique"]

Until: TypeAlias = Literal["finished", "started", "window"]
"""What frees a unique key: the end of the task, its first start, or only time."""


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
    return None if value is None else to_span(value, "window", minimum_ms=1)


def _is_until(_: object, __: Attribute[Any], value: object) -> None:
    one_of("unique: until", value, get_args(Until))


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
            "window_ms": None if self.window is None else span_ms(self.window),
        }


def to_unique(value: bool | tuple[str, ...] | Unique | Unset) -> Unique | Literal[False] | Unset:
    """Return what ``unique=`` says; a tuple names the arguments that are compared."""
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

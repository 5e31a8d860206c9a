"""What a call says beside arguments and options: when, under which id, and what travels along.

Rule of this module: everything is checked here, once, where the caller can see it.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from attrs import evolve, frozen

from stem_core.model.duration import Duration, to_ms
from stem_core.model.errors import InvalidOption, NotEncodable
from stem_core.model.ids import check_id
from stem_core.model.options import PublishDict, TaskOptions, TaskOptionsDict

__all__ = ["PLAINLY", "How", "split"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_OPTIONS: Final = TaskOptionsDict.__optional_keys__
_CALL_ONLY: Final = PublishDict.__optional_keys__ - _OPTIONS


@frozen(slots=False, kw_only=True)
class How:
    """How one call is sent. Every field has a value that means "not given".

    Attributes:
        headers, meta: as in the envelope.
        delay_ms: relative start; None for at once.
        not_before_ms: absolute start; None for at once. Never together with a delay.
        task_id: chosen by the caller; None for a generated one.
        connection: whose transaction it joins; None for none.
    """

    headers: dict[str, str] | None = None
    meta: dict[str, Any] | None = None
    delay_ms: int | None = None
    not_before_ms: int | None = None
    task_id: str | None = None
    connection: object = None

    @classmethod
    def of(
        cls,
        *,
        headers: Mapping[str, str] | None = None,
        meta: Mapping[str, Any] | None = None,
        delay: Duration | None = None,
        not_before: datetime | None = None,
        task_id: str | None = None,
        connection: object = None,
    ) -> How:
        """Return what was given, checked.

        Raises:
            InvalidOption: a naive datetime, delay together with not_before, no duration.
            InvalidName: a *task_id* that no store can keep.
            NotEncodable: headers or meta that are no mapping.
        """
        if delay is not None and not_before is not None:
            raise _two_starts()
        return cls(
            headers=None if headers is None else _object(headers, "headers"),
            meta=None if meta is None else _object(meta, "meta"),
            delay_ms=None if delay is None else to_ms(delay, field="delay"),
            not_before_ms=None if not_before is None else _instant_ms(not_before),
            task_id=None if task_id is None else check_id(task_id),
            connection=connection,
        )

    def over(self, lower: How) -> How:
        """Return this, and for what it leaves open the fields of *lower*."""
        if lower is PLAINLY:
            return self
        given = {name: value for name, value in vars(self).items() if value is not None}
        both = evolve(lower, **given)
        if both.delay_ms is not None and both.not_before_ms is not None:
            raise _two_starts()
        return both


PLAINLY: Final = How()
"""Nothing was said."""


def split(given: Mapping[str, Any]) -> tuple[TaskOptions, How]:
    """Return the keywords of `.using` as options and the rest.

    Raises:
        InvalidOption: an unknown name, with the nearest one, or an impossible value.
    """
    options, rest = {}, {}
    for name, value in given.items():
        if name in _OPTIONS:
            options[name] = value
        elif name in _CALL_ONLY:
            rest[name] = value
        else:
            raise _unknown(name)
    return TaskOptions.of(**options), How.of(**rest) if rest else PLAINLY


def _unknown(name: str) -> InvalidOption:
    known = sorted(_OPTIONS | _CALL_ONLY)
    near = difflib.get_close_matches(name, known, n=1)
    guess = f"Did you mean {near[0]!r}? " if near else ""
    return InvalidOption(
        f"{name!r:.60} is no option of a call",
        way_out=f"{guess}There are {', '.join(known)}. "
        "The task's own arguments go into .enqueue(…).",
    )


def _two_starts() -> InvalidOption:
    return InvalidOption(
        "delay together with not_before", way_out="Give one of them: both say when it starts."
    )


def _instant_ms(value: datetime) -> int:
    given: object = value  # callers without a type checker
    if not isinstance(given, datetime):
        raise InvalidOption(
            f"not_before={given!r:.60} is not a datetime",
            way_out='Use datetime.now(UTC) + timedelta(minutes=5), or delay="5m".',
        )
    if given.utcoffset() is None:
        raise InvalidOption(
            f"not_before={given!r} has no time zone",
            way_out='Use datetime.now(UTC) + timedelta(minutes=5), or delay="5m".',
        )
    instant_ms = (given - _EPOCH) // _MILLISECOND
    if instant_ms < 0:
        raise InvalidOption(f"not_before={given!r} is before 1970")
    return instant_ms


def _object(value: Mapping[str, Any], name: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise NotEncodable(f"{name}: an object (dict) is needed, got {type(value).__name__}")
    return dict(value)

"""The wire form of options: JSON as it stands in an envelope, in both directions.

Rule of this module: reading is strict, since the bytes come from strangers. What
`option_to_wire` never writes is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from stem_core.model.errors import MalformedEnvelope
from stem_core.model.option_values import instant_ms, instant_of, span_ms
from stem_core.model.retry import RetryPolicy
from stem_core.model.unique import Unique

__all__ = ["option_to_wire", "read_options"]


def option_to_wire(name: str, value: Any) -> tuple[str, Any]:
    """Return the key and the JSON of the option *name*; the unit stands in the key."""
    match value:
        case timedelta():
            return f"{name}_ms", span_ms(value)
        case datetime():
            return f"{name}_at_ms", instant_ms(value)
        case RetryPolicy() | Unique():
            return name, value.to_wire()
        case None if name in _SPANS:
            return f"{name}_ms", None
    return name, value


_SPANS: Final = frozenset({"visibility_timeout", "soft_time_limit", "hard_time_limit", "expires"})


def read_options(wire: dict[str, Any]) -> dict[str, Any]:
    """Return the keywords for `TaskOptions` that *wire* says.

    Raises:
        MalformedEnvelope: an unknown option, one given in two units, or a wrong type.
        InvalidOption, OverflowError: a value that the option cannot have.
    """
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
    return instant_of(_exactly_int(value))


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

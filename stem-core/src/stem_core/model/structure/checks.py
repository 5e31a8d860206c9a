"""Checks: functions that take a JSON value and return it as the hinted type, or refuse it.

A check is built once per type hint and is cheap to call. Rule of this module:
a check looks at ``type(value) is …``, so that a bool is never an int.
"""

from __future__ import annotations

import collections.abc as abc
import dataclasses
import difflib
import re
import types
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import cache
from pathlib import Path, PurePath, PurePosixPath
from typing import (
    Annotated,
    Any,
    Final,
    Literal,
    TypeAlias,
    Union,
    get_args,
    get_origin,
    is_typeddict,
)
from uuid import UUID

import attrs

from stem_core.model.duration import to_ms
from stem_core.model.errors import InvalidOption

__all__ = ["PLAIN", "Check", "Mismatch", "NoJsonForm", "check_for", "shown", "unknown_field"]

Check: TypeAlias = Callable[[Any], Any]
"""Takes a JSON value, returns it as a Python type; raises `Mismatch` when it does not fit."""


class Mismatch(ValueError):
    """A value does not fit its type: pairs of where (``".zip[2]"``) and what."""

    def __init__(self, *problems: tuple[str, str]) -> None:
        super().__init__("; ".join(f"{where} {what}".strip() for where, what in problems))
        self.problems: Final = problems

    def under(self, place: str) -> tuple[tuple[str, str], ...]:
        """Return the problems as seen from outside *place*."""
        return tuple((place + where, what) for where, what in self.problems)


class NoJsonForm(Exception):
    """A type hint that no JSON value can become."""


def shown(value: object) -> str:
    """Return the JSON kind of *value* and its beginning, for an error."""
    if value is None:
        return "null"
    if isinstance(value, (list, dict)):
        return f"{'an array' if isinstance(value, list) else 'an object'} of {len(value)}"
    if type(value) is int and value.bit_length() > 128:
        return "an enormous int"
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 40 else text[:37] + '...'}"


def unknown_field(name: str, known: Iterable[str]) -> str:
    """Return what is wrong with a field *name* that is not among the *known*."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"has an unknown field {name!r:.80}" + (f" (did you mean {near[0]!r}?)" if near else "")


def _wrong(expected: str, value: object) -> Mismatch:
    return Mismatch(("", f"expected {expected}, got {shown(value)}"))


# ── the kinds of JSON ────────────────────────────────────────────────────────


def _anything(value: Any) -> Any:
    return value


def _exactly(kind: type, name: str) -> Check:
    def check(value: Any) -> Any:
        if type(value) is kind:
            return value
        raise _wrong(name, value)

    return check


def _float(value: Any) -> float:
    if type(value) is float:
        return value
    if type(value) is int:
        try:
            return float(value)
        except OverflowError:
            pass
    raise _wrong("float", value)


_bool, _int, _str = _exactly(bool, "bool"), _exactly(int, "int"), _exactly(str, "str")
_null, _array, _object = (
    _exactly(types.NoneType, "null"),
    _exactly(list, "an array"),
    _exactly(dict, "an object"),
)

PLAIN: Final[Mapping[Any, Check]] = {
    Any: _anything,
    object: _anything,
    bool: _bool,
    int: _int,
    float: _float,
    str: _str,
    None: _null,
    types.NoneType: _null,
    list: _array,
    list[Any]: _array,
    dict: _object,
    dict[str, Any]: _object,
}
"""Hints whose JSON value is the Python value already: one look at its type is all."""


# ── values that JSON carries as text ─────────────────────────────────────────

_DECIMAL: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,6})?")


def _from_text(read: Callable[[str], Any], expected: str) -> Check:
    def check(value: Any) -> Any:
        if type(value) is str:
            try:
                return read(value)
            except ValueError:
                pass
        raise _wrong(expected, value)

    return check


def _aware(text: str) -> datetime:
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError("naive")
    return instant


def _uuid(text: str) -> UUID:
    value = UUID(text)
    if str(value) != text.lower():
        raise ValueError("not canonical")
    return value


def _decimal(text: str) -> Decimal:
    if not _DECIMAL.fullmatch(text):
        raise ValueError("not a plain decimal")
    return Decimal(text)


def _path(kind: type[PurePath]) -> Callable[[str], PurePath]:
    def read(text: str) -> PurePath:
        if "\0" in text:
            raise ValueError("NUL in a path")
        return kind(text)

    return read


def _timedelta(value: Any) -> timedelta:
    try:
        if type(value) in (int, float):
            return timedelta(seconds=value)
        if type(value) is str:
            return timedelta(milliseconds=to_ms(value, field=""))
    except (InvalidOption, OverflowError, ValueError):
        pass
    raise _wrong("seconds or a duration such as '90s'", value)


_TEXTS: Final[Mapping[Any, Check]] = {
    datetime: _from_text(_aware, "an ISO 8601 date and time with a UTC offset"),
    date: _from_text(date.fromisoformat, "an ISO 8601 date"),
    time: _from_text(time.fromisoformat, "an ISO 8601 time"),
    UUID: _from_text(_uuid, "a UUID"),
    Decimal: _from_text(_decimal, "a decimal number as text"),
    timedelta: _timedelta,
    **{kind: _from_text(_path(kind), "a path") for kind in (Path, PurePath, PurePosixPath)},
}


# ── the check of a hint ──────────────────────────────────────────────────────

_ARRAYS: Final[Mapping[Any, Callable[[Iterable[Any]], Any]]] = {
    list: list,
    abc.Sequence: list,
    abc.MutableSequence: list,
    abc.Collection: list,
    abc.Iterable: list,
    set: set,
    abc.MutableSet: set,
    frozenset: frozenset,
    abc.Set: frozenset,
}
_OBJECTS: Final = (dict, abc.Mapping, abc.MutableMapping)


def check_for(hint: Any) -> Check:
    """Return the check of *hint*.

    Raises:
        NoJsonForm: no JSON value can become this type.
    """
    try:
        hash(hint)
    except TypeError:  # such as Annotated[int, {}]
        return _composed(hint)
    return _simple(hint)


@cache
def _simple(hint: Any) -> Check:
    return PLAIN.get(hint) or _TEXTS.get(hint) or _composed(hint)


def _composed(hint: Any) -> Check:
    if (inner := _inner(hint)) is not None:
        return check_for(inner)
    origin = get_origin(hint) or hint
    if origin in _ARRAYS:
        return _array_check(_ARRAYS[origin], *get_args(hint))
    if origin in _OBJECTS:
        return _object_check(*get_args(hint))
    if origin is tuple:
        return _tuple_check(get_args(hint))
    if origin is Union or origin is types.UnionType:
        return _union_check(get_args(hint))
    if origin is Literal:
        return _choice_check({_key(arg): arg for arg in get_args(hint)})
    if isinstance(origin, type) and issubclass(origin, Enum):
        return _choice_check({_key(member): member for member in origin})
    if is_typeddict(origin):
        from stem_core.model.structure.typeddicts import typeddict_check

        return typeddict_check(origin)
    if _has_fields(origin):
        # Here and not above: see the rule of this package.
        from stem_core.model.structure.classes import class_check

        return class_check(hint)
    raise NoJsonForm(f"{getattr(hint, '__qualname__', hint)} has no JSON form")


def _inner(hint: Any) -> Any:
    """Return what a NewType, an Annotated or a ``type X = …`` stands for, else None."""
    if get_origin(hint) is Annotated:
        return get_args(hint)[0]
    return getattr(hint, "__supertype__", None) or getattr(hint, "__value__", None)


def _has_fields(origin: Any) -> bool:
    return isinstance(origin, type) and (attrs.has(origin) or dataclasses.is_dataclass(origin))


def _each(check: Check, items: Iterable[Any]) -> list[Any]:
    """Return every item checked, or raise all their problems together.

    One pass: a second one to find the places would double at every level of nesting.
    """
    good: list[Any] = []
    problems: list[tuple[str, str]] = []
    for place, item in enumerate(items):
        try:
            good.append(check(item))
        except Mismatch as error:
            problems += error.under(f"[{place}]")
    if problems:
        raise Mismatch(*problems)
    return good


def _array_check(build: Callable[[Iterable[Any]], Any], element: Any = Any) -> Check:
    check_element = check_for(element)

    def check(value: Any) -> Any:
        items = _each(check_element, _array(value))
        try:
            return build(items)
        except TypeError:  # a set of what cannot be in a set
            raise _wrong("items that can be in a set", value) from None

    return check


def _tuple_check(hints: tuple[Any, ...]) -> Check:
    if len(hints) == 2 and hints[1] is Ellipsis:
        return _array_check(tuple, hints[0])
    if not hints:
        return _array_check(tuple)
    checks = tuple(map(check_for, hints))

    def check(value: Any) -> Any:
        if len(_array(value)) != len(checks):
            raise _wrong(f"an array of exactly {len(checks)}", value)
        pairs = zip(checks, value, strict=True)
        return tuple(_each(lambda pair: pair[0](pair[1]), pairs))

    return check


def _object_check(key: Any = Any, value: Any = Any) -> Check:
    check_key, check_value = check_for(key), check_for(value)

    def check(given: Any) -> Any:
        good: dict[Any, Any] = {}
        problems: list[tuple[str, str]] = []
        for name, item in _object(given).items():
            try:
                good[check_key(name)] = check_value(item)
            except Mismatch as error:
                problems += error.under(f"[{name!r}]")
        if problems:
            raise Mismatch(*problems)
        return good

    return check


def _key(choice: Any) -> tuple[type, Any]:
    """Return the JSON value of *choice* with its type: 1 and True are two choices."""
    value = choice.value if isinstance(choice, Enum) else choice
    if type(value) not in (str, int, float, bool, types.NoneType):
        raise NoJsonForm(f"{choice!r} is no JSON value")
    return type(value), value


def _choice_check(choices: Mapping[tuple[type, Any], Any]) -> Check:
    expected = "one of " + ", ".join(repr(value) for _, value in choices)

    def check(value: Any) -> Any:
        try:
            return choices[type(value), value]
        except (KeyError, TypeError):
            raise _wrong(expected, value) from None

    return check


# ── unions ───────────────────────────────────────────────────────────────────


def _union_check(members: tuple[Any, ...]) -> Check:
    """Choose by the kind of the value, then in the order written.

    The widest come last: float after int, str after everything that is written as text.
    """
    checks = [
        (_kinds(member), check_for(member))
        for member in sorted(members, key=lambda member: member in (str, float, Any))
    ]
    expected = "one of " + ", ".join(map(_label, members))

    def check(value: Any) -> Any:
        fitting = [check for kinds, check in checks if kinds is None or type(value) in kinds]
        if len(fitting) == 1:
            return fitting[0](value)
        for candidate in fitting:
            try:
                return candidate(value)
            except Mismatch:
                continue
        raise _wrong(expected, value)

    return check


def _label(hint: Any) -> str:
    return "null" if hint is types.NoneType else str(getattr(hint, "__name__", hint))


def _kinds(hint: Any) -> frozenset[type] | None:
    """Return the JSON kinds that *hint* can take; None for any of them."""
    if (inner := _inner(hint)) is not None:
        return _kinds(inner)
    origin = get_origin(hint) or hint
    if origin in (bool, int, str):
        return frozenset({origin})
    if origin is float:
        return frozenset({int, float})
    if origin in (None, types.NoneType):
        return frozenset({types.NoneType})
    if origin in _ARRAYS or origin is tuple:
        return frozenset({list})
    if origin in _OBJECTS or is_typeddict(origin) or _has_fields(origin):
        return frozenset({dict})
    # A timedelta may also be a number.
    return frozenset({str}) if origin in _TEXTS and origin is not timedelta else None

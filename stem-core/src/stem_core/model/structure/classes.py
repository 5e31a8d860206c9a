"""User classes through cattrs: attrs classes and dataclasses.

Rule of this module: the only one that imports cattrs. Fields go back through
`check_for`, so that a value inside a class is judged like one outside.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Set
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import cache
from pathlib import Path, PurePath
from types import NoneType
from typing import Any, Final, NoReturn, get_origin
from uuid import UUID

import attrs
from cattrs import ClassValidationError, Converter, ForbiddenExtraKeysError
from cattrs.gen import make_dict_structure_fn

from stem_core.model.errors import NotEncodable
from stem_core.model.secrets import Secret
from stem_core.model.structure.checks import Check, Mismatch, check_for, shown, unknown_field

__all__ = ["class_check", "to_json"]


def class_check(hint: Any) -> Check:
    """Return the check of a class with fields; unknown fields are refused."""
    converter, origin = _converter(), get_origin(hint) or hint
    build = make_dict_structure_fn(
        hint, converter, _cattrs_forbid_extra_keys=True, _cattrs_detailed_validation=True
    )

    def check(value: Any) -> Any:
        if type(value) is not dict:
            raise Mismatch(("", f"expected an object ({origin.__name__}), got {shown(value)}"))
        try:
            return build(value, hint)
        except ClassValidationError as error:
            raise Mismatch(*_problems(error)) from None
        except RecursionError:
            raise Mismatch(("", "is nested too deeply")) from None

    return check


def to_json(value: object) -> Any:
    """Return *value* as JSON values.

    Raises:
        NotEncodable: it holds what JSON cannot carry.
    """
    try:
        return _converter().unstructure(value)
    except RecursionError:
        raise NotEncodable("the value is nested too deeply, or contains itself") from None


def _problems(error: ClassValidationError) -> Iterator[tuple[str, str]]:
    noted, bare = error.group_exceptions()
    for problem, note in noted:
        if isinstance(problem, Mismatch):
            yield from problem.under(f".{note.name}")
        elif isinstance(problem, KeyError) and problem.args == (note.name,):
            yield f".{note.name}", "is missing"
        else:
            yield f".{note.name}", _told(problem)
    for problem in bare:
        if isinstance(problem, ForbiddenExtraKeysError):
            yield from _unknown_fields(problem)
        else:
            yield "", _told(problem)


def _unknown_fields(error: ForbiddenExtraKeysError) -> Iterator[tuple[str, str]]:
    kind: Any = get_origin(error.cl) or error.cl
    fields = attrs.fields(kind) if attrs.has(kind) else dataclasses.fields(kind)
    known = [field.name for field in fields]
    for name in sorted(error.extra_fields):
        yield "", unknown_field(name, known)


def _told(problem: Exception) -> str:
    """What a validator of the user's class says."""
    return str(problem.args[0]) if problem.args else type(problem).__name__


# ── the one converter ────────────────────────────────────────────────────────

# cattrs answers for these and their subclasses before it asks any factory.
_ANSWERED_BY_CATTRS: Final = (bool, int, float, str, bytes, NoneType, Enum, Path)


@cache
def _converter() -> Converter:
    converter = Converter(unstruct_collection_overrides={Set: _stable_list, tuple: list})
    for kind in _ANSWERED_BY_CATTRS:
        converter.register_structure_hook(kind, lambda value, hint: check_for(hint)(value))
    converter.register_structure_hook_factory(lambda _: True, _hook)
    for kind, write in _WRITERS.items():
        converter.register_unstructure_hook(kind, write)
    return converter


def _hook(hint: Any) -> Any:
    check = check_for(hint)
    return lambda value, _: check(value)


def _stable_list(items: Iterable[Any]) -> list[Any]:
    # A set has no order, and equal arguments must become equal bytes.
    return sorted(items, key=repr)


def _aware_text(instant: datetime) -> str:
    if instant.tzinfo is None:
        raise NotEncodable(
            f"{instant.isoformat()} has no time zone",
            way_out="Use an aware datetime, such as datetime.now(UTC).",
        )
    return instant.isoformat()


def _plain_text(text: str) -> Any:
    # cattrs answers for a StrEnum by its base.
    return text.value if isinstance(text, Enum) else text


def _refuse_secret(secret: Secret[Any]) -> NoReturn:
    raise NotEncodable(
        "a Secret does not travel in a task",
        way_out="Pass the name of the secret, and read it in the worker.",
    )


_WRITERS: Final[dict[Any, Any]] = {
    str: _plain_text,
    datetime: _aware_text,
    date: date.isoformat,
    time: time.isoformat,
    timedelta: timedelta.total_seconds,
    UUID: str,
    Decimal: str,
    PurePath: str,
    Secret: _refuse_secret,
}

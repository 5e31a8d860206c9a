"""Arguments and results: what the producer and the worker call for every task.

Rule of this module: whatever can be decided from a signature is decided once, in
`plan`; a call pays for one check per argument.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import NoneType
from typing import Any, Final

from stem_core.model.errors import InvalidArguments, InvalidTask
from stem_core.model.structure.checks import PLAIN, Check, Mismatch, NoJsonForm, check_for

__all__ = ["is_plain_json", "plan", "structure", "structure_arguments", "unstructure"]

_SCALARS: Final = frozenset({str, int, float, bool, NoneType})


def is_plain_json(hint: object) -> bool:
    """Return whether a JSON value of *hint* is the Python value already.

    The check of such a hint looks at one type, and `unstructure` changes nothing.
    """
    try:
        return hint in PLAIN
    except TypeError:  # a hint that cannot be hashed
        return False


def plan(hint: object) -> Check:
    """Return the check of *hint*, to be called for every value.

    Raises:
        InvalidTask: no JSON value can become this type.
    """
    try:
        return check_for(hint)
    except (NoJsonForm, NameError) as error:
        raise InvalidTask(
            str(error),
            way_out="Use JSON types, attrs classes, dataclasses, TypedDicts, Enums, datetime, "
            "date, UUID, Decimal or timedelta. Send bytes as base64 text.",
        ) from None


def structure(value: object, hint: object, *, path: str) -> Any:
    """Return the JSON *value* as an instance of *hint*.

    Raises:
        InvalidArguments: every problem, each with its path below *path*.
        InvalidTask: no JSON value can become this type.
    """
    return structure_arguments({path: value}, {path: plan(hint)})[path]


def structure_arguments(
    arguments: Mapping[str, object], plans: Mapping[str, Check]
) -> dict[str, Any]:
    """Return *arguments* (JSON values by name), each through its plan.

    Raises:
        InvalidArguments: every problem of every argument, each with its path.
    """
    try:
        return {name: plans[name](value) for name, value in arguments.items()}
    except Mismatch:
        problems = [f"{where}: {what}" for where, what in _problems(arguments, plans)]
        raise InvalidArguments("; ".join(problems)) from None


def unstructure(value: object) -> Any:
    """Return *value* as JSON values: instances of classes become objects, sets sorted arrays.

    What it does not know passes through, for the codec to refuse with its path.

    Raises:
        NotEncodable: a naive datetime, a `Secret`, or a value that contains itself.
    """
    if type(value) in _SCALARS:
        return value
    if type(value) is list and all(type(item) in _SCALARS for item in value):
        return value
    if type(value) is dict and all(type(item) in _SCALARS for item in value.values()):
        return value
    # Here and not above: see the rule of this package.
    from stem_core.model.structure.classes import to_json

    return to_json(value)


def _problems(
    arguments: Mapping[str, object], plans: Mapping[str, Callable[[Any], Any]]
) -> Iterator[tuple[str, str]]:
    for name, value in arguments.items():
        try:
            plans[name](value)
        except Mismatch as error:
            yield from error.under(name)

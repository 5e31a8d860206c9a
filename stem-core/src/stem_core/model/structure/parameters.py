"""Options written as text, in a URL or a variable, as the typed fields of an attrs class.

A plugin's options are one attrs class: its fields are the parameters of the URL.
Rule of this module: a reader takes one text and says what it expected; whoever
calls it adds the name, and hides the value when the name or the type is secret.
"""

from __future__ import annotations

import difflib
import math
import re
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from typing import (
    Any,
    Final,
    Literal,
    TypeAlias,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import attrs

from stem_core.model.duration import Milliseconds, format_ms, to_ms
from stem_core.model.errors import ConfigError, InvalidOption
from stem_core.model.secrets import HIDDEN, Secret, is_secret_name, redact

__all__ = [
    "OptionInfo",
    "TextReader",
    "default_text",
    "describe_options",
    "describe_type",
    "expected_one_of",
    "options_from_query",
    "shown_value",
    "text_reader",
]

TextReader: TypeAlias = Callable[[str], Any]
"""Takes a text, returns a value; raises `ValueError` with "expected …" that repeats no text."""

T = TypeVar("T")

_TRUE: Final = frozenset({"1", "true", "yes", "on"})
_FALSE: Final = frozenset({"0", "false", "no", "off"})
_INT: Final = re.compile(r"[+-]?[0-9]{1,18}")
_FLOAT: Final = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?")


@attrs.frozen(kw_only=True)
class OptionInfo:
    """One option of a plugin, for people.

    Attributes:
        name: the parameter.
        type: in words, such as ``duration``.
        default: as one would write it; empty when there is none.
        help: one sentence.
    """

    name: str
    type: str
    default: str = ""
    help: str = ""


def options_from_query(
    cls: type[T], query: Sequence[tuple[str, str]], *, source: str, redacted_url: str = ""
) -> T:
    """Return the options of a URL as an instance of the attrs class *cls*.

    Raises:
        ConfigError: names *source* and every unknown, malformed, missing or repeated
            parameter at once.
    """
    kind: Any = cls
    fields = {field.name: field for field in attrs.fields(kind) if field.init}
    hints = get_type_hints(cls)
    given: dict[str, list[str]] = {}
    for name, text in query:
        given.setdefault(name, []).append(text)

    values: dict[str, Any] = {}
    problems = [_unknown(name, fields) for name in given if name not in fields]
    for name, field in fields.items():
        if name not in given:
            if field.default is attrs.NOTHING:
                problems.append(f"{name}: is required")
            continue
        try:
            values[field.alias or name] = _read(given[name], hints[name])
        except ValueError as error:
            problems.append(f"{name}={shown_value(name, hints[name], given[name][0])}: {error}")
    if not problems:
        try:
            return cls(**values)
        except (ValueError, TypeError, InvalidOption) as error:
            problems.append(_said(error, query))
    where = f"{source} ({redacted_url})" if redacted_url else source
    accepted = ", ".join(fields) or "none"
    raise ConfigError(
        f"{where}: {'; '.join(problems)}", way_out=f"Accepted parameters: {accepted}."
    )


def describe_options(cls: type) -> list[OptionInfo]:
    """Return the options of the attrs class *cls*, in the order of its fields."""
    hints = get_type_hints(cls)
    return [
        OptionInfo(
            name=field.name,
            type=describe_type(hints[field.name]),
            default=_default(field, hints[field.name]),
            help=str(field.metadata.get("help", "")),
        )
        for field in attrs.fields(cls)
        if field.init
    ]


def text_reader(hint: Any) -> TextReader:
    """Return the reader of texts of type *hint*.

    Raises:
        TypeError: an option cannot have this type; a mistake in the class that declares it.
    """
    reader = _READERS.get(hint)
    if reader is not None:
        return reader
    origin, arguments = get_origin(hint) or hint, get_args(hint)
    if origin is Union or origin is types.UnionType:
        members = [member for member in arguments if member is not types.NoneType]
        if len(members) == 1:
            return text_reader(members[0])
    elif origin is Literal:
        return _choice({str(argument): argument for argument in arguments})
    elif origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        return _listed(text_reader(arguments[0]))
    elif isinstance(origin, type) and issubclass(origin, Enum):
        return _choice({str(member.value): member for member in origin})
    raise TypeError(f"an option cannot have the type {hint}")


def describe_type(hint: Any) -> str:
    """Return *hint* in words: ``duration``, ``true or false``, ``one of a, b``."""
    if hint in _WORDS:
        return _WORDS[hint]
    origin, arguments = get_origin(hint) or hint, get_args(hint)
    if origin is Union or origin is types.UnionType:
        return " or ".join(describe_type(arg) for arg in arguments if arg is not types.NoneType)
    if origin is Literal:
        return "one of " + ", ".join(map(str, arguments))
    if origin is tuple:
        return f"list of {describe_type(arguments[0])}"
    if isinstance(origin, type) and issubclass(origin, Enum):
        return "one of " + ", ".join(str(member.value) for member in origin)
    return str(getattr(hint, "__name__", hint))


def shown_value(name: str, hint: Any, text: str) -> str:
    """Return *text* as it may stand in an error."""
    if is_secret_name(name) or "secret" in describe_type(hint):
        return HIDDEN
    return repr(text) if len(text) <= 60 else repr(text[:57]) + "..."


# ── readers ──────────────────────────────────────────────────────────────────


def _bool(text: str) -> bool:
    word = text.lower()
    if word not in _TRUE | _FALSE:
        raise ValueError("expected true or false (or 1, 0, yes, no, on, off)")
    return word in _TRUE


def _int(text: str) -> int:
    if not _INT.fullmatch(text):
        raise ValueError("expected an integer")
    return int(text)


def _float(text: str) -> float:
    if not _FLOAT.fullmatch(text) or not math.isfinite(float(text)):
        raise ValueError("expected a number")
    return float(text)


def _milliseconds(text: str) -> Milliseconds:
    try:
        return Milliseconds(to_ms(text, field=""))
    except InvalidOption:
        raise ValueError("expected a duration such as 500ms, 30s, 5m") from None


def expected_one_of(text: str, choices: Iterable[str]) -> str:
    """Say what could stand in the place of *text*, and which of it was probably meant."""
    known = list(choices)
    near = difflib.get_close_matches(text, known, n=1)
    guess = f" (did you mean {near[0]!r}?)" if near else ""
    return f"expected one of {', '.join(known)}{guess}"


def _choice(choices: Mapping[str, Any]) -> TextReader:
    def read(text: str) -> Any:
        if text not in choices:
            raise ValueError(expected_one_of(text, choices))
        return choices[text]

    return read


def _listed(read_item: TextReader) -> TextReader:
    def read(text: str) -> tuple[Any, ...]:
        pieces = [piece.strip() for piece in text.split(",")]
        if not all(pieces):
            raise ValueError("expected a list separated by commas, without empty places")
        return tuple(map(read_item, pieces))

    return read


_READERS: Final[Mapping[Any, TextReader]] = {
    bool: _bool,
    int: _int,
    float: _float,
    str: str,
    Milliseconds: _milliseconds,
    Secret[str]: Secret,
}
_WORDS: Final[Mapping[Any, str]] = {
    bool: "true or false",
    int: "integer",
    float: "number",
    str: "text",
    Milliseconds: "duration",
    Secret[str]: "secret",
}


# ── the parameters of one URL ────────────────────────────────────────────────


def _read(texts: list[str], hint: Any) -> Any:
    """Read a parameter that is given once, or a list that may be given in pieces."""
    if len(texts) > 1 and not describe_type(hint).startswith("list of"):
        raise ValueError(f"given {len(texts)} times")
    return text_reader(hint)(",".join(texts))


def _unknown(name: str, known: Mapping[str, object]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    guess = f" (did you mean {near[0]!r}?)" if near else ""
    return f"unknown parameter {name!r:.60}{guess}"


def _said(error: Exception, query: Sequence[tuple[str, str]]) -> str:
    """Return what a validator said, without the secrets that it may repeat."""
    secrets = [Secret(text) for name, text in query if is_secret_name(name)]
    return redact(str(error.args[0] if error.args else error), *secrets)


def _default(field: attrs.Attribute[Any], hint: Any) -> str:
    value = field.default
    if value is attrs.NOTHING or value is None:
        return ""
    if isinstance(value, attrs.Factory):  # type: ignore[arg-type]  # a class at run time
        value = None if value.takes_self else value.factory()
    return default_text(value, hint)


def default_text(value: Any, hint: Any) -> str:
    """Return the default *value* of an option as one would write it."""
    if value is None:
        return ""
    if "duration" in describe_type(hint):
        return format_ms(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Enum):
        return str(value.value)
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)

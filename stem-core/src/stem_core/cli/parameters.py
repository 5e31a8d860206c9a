"""The parameters that commands share: options with their variables, and types of values.

Rule of this module: every option of the program is made by `option`, so none is
without a variable, and none is without help.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

import click

from stem_core.model.duration import to_ms
from stem_core.model.errors import InvalidOption

__all__ = [
    "DURATION",
    "HEADER",
    "INSTANT",
    "JSON_OBJECT",
    "QUEUES",
    "app_option",
    "json_option",
    "option",
]

F = TypeVar("F", bound=Callable[..., Any])


def option(*names: str, variable: str, help: str, **how: Any) -> Callable[[F], F]:
    """Declare an option that can also be given as the environment variable *variable*."""
    return click.option(*names, envvar=variable, show_envvar=True, help=help, **how)


def json_option(command: str) -> Callable[[F], F]:
    """Declare ``--json`` of *command*, received as ``as_json``."""
    return option(
        "--json",
        "as_json",
        variable=f"STEM_{command}_JSON",
        is_flag=True,
        help="Print one JSON object on standard output, for programs.",
    )


class _Duration(click.ParamType):
    """A span of time; received as a timedelta."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta:
        if isinstance(value, timedelta):
            return value
        try:
            return timedelta(milliseconds=to_ms(value, field=_label(param)))
        except InvalidOption as error:
            self.fail(str(error), param, ctx)


class _Instant(click.ParamType):
    """An instant with its time zone; received as an aware datetime."""

    name = "instant"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        try:
            instant = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is not an ISO 8601 instant; {_INSTANT_EXAMPLE}", param, ctx)
        if instant.tzinfo is None:
            self.fail(f"{value!r} has no time zone; {_INSTANT_EXAMPLE}", param, ctx)
        return instant


class _JsonObject(click.ParamType):
    """A JSON object, strictly read; ``-`` reads it from standard input."""

    name = "json"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> dict[str, Any]:
        if isinstance(value, dict):
            return value
        text = click.get_text_stream("stdin").read() if value == "-" else value
        try:
            found = json.loads(text, object_pairs_hook=_unrepeated, parse_constant=_no_number)
        except (ValueError, RecursionError) as error:
            self.fail(f"this is not JSON: {error}; {_OBJECT_EXAMPLE}", param, ctx)
        if not isinstance(found, dict):
            self.fail(f"expected a JSON object, got {found!r:.40}; {_OBJECT_EXAMPLE}", param, ctx)
        return found


class _Header(click.ParamType):
    """``name=value``; received as a pair."""

    name = "name=value"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        name, equals, text = value.partition("=")
        if not name or not equals:
            self.fail(f"{value!r} is not name=value", param, ctx)
        return name, text


class _Queues(click.ParamType):
    """``billing:8,default``; received as weights by queue, 1 where none is given."""

    name = "queues"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> dict[str, int]:
        if isinstance(value, dict):
            return value
        weights: dict[str, int] = {}
        for piece in value.split(","):
            name, colon, weight = piece.strip().partition(":")
            if not name or (colon and not (weight.isascii() and weight.isdigit() and int(weight))):
                self.fail(f"{piece!r} is not a queue; write default or billing:8", param, ctx)
            weights[name] = int(weight) if colon else 1
        return weights


DURATION: Final = _Duration()
INSTANT: Final = _Instant()
JSON_OBJECT: Final = _JsonObject()
HEADER: Final = _Header()
QUEUES: Final = _Queues()

_INSTANT_EXAMPLE: Final = "write 2030-01-31T09:30:00+00:00"
_OBJECT_EXAMPLE: Final = """write '{"name": "Stem"}', in single quotes"""


def _label(param: click.Parameter | None) -> str:
    return "value" if param is None else param.name or "value"


def _unrepeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {repeated!r} stands there twice")
    return found


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is not a JSON number")


def app_option(function: F) -> F:
    """Declare ``--app``, for commands that can do without an application."""
    return option(
        "--app",
        metavar="MODULE:ATTR",
        variable="STEM_APP",
        help="Use the stores, routes and signer of this application.",
    )(function)

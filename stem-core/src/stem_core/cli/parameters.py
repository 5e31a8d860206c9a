"""The parameters that commands share: options with their variables, and readers of values.

Rule of this module: every option of the program is made by `option`, so none is
without a variable, and none is without help.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

import click
from click.core import ParameterSource

from stem_core.cli.failures import nearest
from stem_core.model.duration import to_ms
from stem_core.model.errors import InvalidName, InvalidOption

__all__ = [
    "app_option",
    "argument",
    "choice",
    "json_option",
    "option",
    "read_address",
    "read_duration",
    "read_header",
    "read_instant",
    "read_memory",
    "read_object",
    "read_queues",
    "setting_option",
    "whole_number",
]

F = TypeVar("F", bound=Callable[..., Any])

_MOST_DIGITS: Final = 9


def option(*names: str, variable: str, help: str, **how: Any) -> Callable[[F], F]:
    """Declare an option that can also be given as the environment variable *variable*."""
    how = {"cls": _Option, **({"type": _YES_OR_NO} if how.get("is_flag") else {}), **how}
    return click.option(*names, envvar=variable, show_envvar=True, help=help, **how)


def argument(name: str, **how: Any) -> Callable[[F], F]:
    """Declare an argument."""
    return click.argument(name, cls=_Argument, **how)


def choice(values: Sequence[str], *, case_sensitive: bool = True) -> click.Choice[str]:
    """Return the type of an option that takes one of *values*."""
    return _Choice(values, case_sensitive=case_sensitive)


def setting_option(*names: str, variable: str, help: str, **how: Any) -> Callable[[F], F]:
    """Declare an option whose *variable* is a setting of the application.

    The option is None unless it stands on the command line: what the application was
    given in code wins over the variable, so the application is who reads it.
    """
    return option(*names, variable=variable, help=help, cls=_SettingOption, **how)


class _Option(click.Option):
    """Is called in errors as it was given: by its name, or by its variable."""

    def get_error_hint(self, ctx: click.Context | None) -> str:
        """Name what stands where the mistake is."""
        return _variable_of(self, ctx) or " / ".join(self.opts)


class _Argument(click.Argument):
    """Is called in errors as it was given: by its variable, or as the help calls it."""

    def get_error_hint(self, ctx: click.Context | None) -> str:
        """Name what stands where the mistake is."""
        return _variable_of(self, ctx) or (self.metavar or self.human_readable_name).strip("[]")


def _variable_of(parameter: click.Parameter, ctx: click.Context | None) -> str:
    """Return the variable that *parameter* was given by, if it was."""
    source = ctx.get_parameter_source(parameter.name or "") if ctx else None
    return str(parameter.envvar) if source is ParameterSource.ENVIRONMENT else ""


class _Choice(click.Choice[str]):
    """Answers a value that is none of its own with the nearest one."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return one of the values."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter as mistake:
            hint = nearest(str(value), list(self.choices))
            self.fail(f"{mistake.message} {hint}".rstrip(), param, ctx)


class _YesOrNo(click.types.BoolParamType):
    """Reads what click reads, and is short about everything else."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return True or False."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            self.fail(f"{value!r} is neither yes nor no; write 1 or 0", param, ctx)


_YES_OR_NO: Final = _YesOrNo()


class _SettingOption(_Option):
    """Names its variable in the help, and leaves it to be read by others."""

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        """Return nothing, whatever the environment holds."""
        return None


def json_option(command: str) -> Callable[[F], F]:
    """Declare ``--json`` of *command*, received as ``as_json``."""
    return option(
        "--json",
        "as_json",
        variable=f"STEM_{command}_JSON",
        is_flag=True,
        help="Print one JSON object on standard output, for programs.",
    )


def whole_number(least: int, most: int | None = None) -> Callable[[object], int]:
    """Return a reader of whole numbers from *least* to *most*."""
    expected = f"of {least} or more" if most is None else f"from {least} to {most}"

    def read(given: object) -> int:
        text = str(given)  # a default is a number already
        is_number = text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS
        if not is_number or not least <= int(text) <= (int(text) if most is None else most):
            raise click.BadParameter(f"{text!r} is not a whole number {expected}")
        return int(text)

    return read


def read_duration(text: str) -> timedelta:
    """Return a span of time, written with its units."""
    try:
        return timedelta(milliseconds=to_ms(text, field="it"))
    except InvalidOption:
        raise click.BadParameter(f"{text!r} is not a duration; write 250ms, 90s or 1h30m") from None


def read_instant(text: str) -> datetime:
    """Return an instant, written with its time zone."""
    example = "write 2030-01-31T09:30:00+00:00"
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is not an ISO 8601 instant; {example}") from None
    if instant.tzinfo is None:
        raise click.BadParameter(f"{text!r} has no time zone; {example}")
    return instant


def read_object(text: str) -> dict[str, Any]:
    """Return a JSON object, strictly read; ``-`` reads it from standard input."""
    example = """write '{"name": "Stem"}', in single quotes"""
    if text == "-":
        text = sys.stdin.read()
    try:
        found = json.loads(text, object_pairs_hook=_unrepeated, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise click.BadParameter(f"this is not JSON: {error}; {example}") from None
    if not isinstance(found, dict):
        raise click.BadParameter(f"expected a JSON object, got {found!r:.40}; {example}")
    return found


def read_header(text: str) -> tuple[str, str]:
    """Return the name and the value of ``name=value``."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise click.BadParameter(f"{text!r} is not name=value")
    return name, value


def read_queues(text: str) -> dict[str, int]:
    """Return the weights of ``billing:8,default`` by queue, read as STEM_WORKER_QUEUES is."""
    from stem_core.model.settings import readers

    try:
        return readers.read_queues(text, "")
    except ValueError as error:
        raise click.BadParameter(f"{text!r}: {error}") from None
    except InvalidName as error:
        raise click.BadParameter(str(error)) from None


def read_address(text: str) -> str:
    """Return where to listen in full, read as STEM_WORKER_HTTP is."""
    from stem_core.model.settings import listening

    try:
        return listening.read_listening(text, "")
    except ValueError as error:
        raise click.BadParameter(f"{text!r}: {error}") from None


def read_memory(text: str) -> int:
    """Return bytes, read as STEM_WORKER_MAX_RSS is."""
    from stem_core.model.settings import sizes

    try:
        return sizes.read_size(text, "")
    except ValueError as error:
        raise click.BadParameter(f"{text!r}: {error}") from None


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

"""`stem config show`: every setting in effect, and where it comes from."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any, get_type_hints

import click
from attrs import frozen

from stem_core.cli.failures import warn
from stem_core.cli.parameters import json_option, option
from stem_core.cli.program import TeachingGroup
from stem_core.cli.terminal import Paint, table
from stem_core.model.secrets import Secret
from stem_core.model.settings import StemConfig
from stem_core.model.settings.environment import settings_of
from stem_core.model.structure import default_text

__all__ = ["config"]


@frozen(kw_only=True)
class _Setting:
    """One setting in effect: *text* and *value* hold no secret."""

    variable: str
    text: str
    value: Any
    origin: str

    @property
    def is_default(self) -> bool:
        return self.origin == "default"


@click.group(cls=TeachingGroup, short_help="Show the settings and where they come from.")
def config() -> None:
    """Show the settings and where they come from.

    \b
    stem config show --origin
    """


@config.command(short_help="Print every setting in effect; secrets are hidden.")
@option(
    "--origin",
    variable="STEM_CONFIG_SHOW_ORIGIN",
    is_flag=True,
    help="Print where each value comes from.",
)
@json_option("CONFIG_SHOW")
def show(origin: bool, as_json: bool) -> None:
    """Print every setting in effect; secrets are hidden.

    Exit code 4 if any variable is wrong; all that is wrong is told at once.

    \b
    stem config show
    stem config show --origin
    """
    found = StemConfig.from_environment(require_broker=False)
    for warning in found.warnings:
        warn(warning)
    settings = list(_settings(found))
    if as_json:
        click.echo(json.dumps({each.variable: _for_programs(each) for each in settings}, indent=2))
    else:
        click.echo("\n".join(_for_people(settings, origin, Paint.of(sys.stdout))))


def _settings(found: StemConfig) -> Iterator[_Setting]:
    for part, prefix in ((found, ""), (found.tls, "tls."), (found.signing, "signing.")):
        hints = get_type_hints(type(part))
        for field in settings_of(type(part)):
            value = getattr(part, field.name)
            yield _Setting(
                variable=field.metadata["env"],
                text=_text(value, hints[field.name]),
                value=_plain(value, hints[field.name]),
                origin=found.origins[prefix + field.name],
            )


def _text(value: Any, hint: Any) -> str:
    """Return *value* as its variable would be given."""
    if isinstance(value, Mapping):
        return ",".join(_pair(name, each) for name, each in value.items())
    return default_text(value, hint)


def _pair(name: str, value: Any) -> str:
    match value:
        case 1:  # the weight of a queue that was given none
            return name
        case str():
            return f"{name}={value}"
        case _:
            return f"{name}:{_plain(value, None)}"


def _plain(value: Any, hint: Any) -> Any:
    """Return *value* as JSON can carry it and everybody may read it."""
    match value:
        case None | bool() | str():
            return value
        case int():
            text = default_text(value, hint)
            return value if text == str(value) else text
        case tuple():
            return list(value)
        case Mapping():
            return {name: _plain(each, None) for name, each in value.items()}
        case bytes() | Secret():
            return "***"
        case _:
            return str(value)


def _for_programs(setting: _Setting) -> dict[str, Any]:
    return {"value": setting.value, "origin": setting.origin}


def _for_people(settings: list[_Setting], origin: bool, paint: Paint) -> Iterator[str]:
    header = ("variable", "value", "origin")
    rows = [(each.variable, each.text or "-", each.origin) for each in settings]
    columns = 3 if origin else 2
    head, *lines = table(header[:columns], [row[:columns] for row in rows])
    yield paint(head, "bold")
    for line, setting in zip(lines, settings, strict=True):
        yield paint(line, "dim") if setting.is_default else line

"""The reference page of the settings, written from their declarations.

Rule of this module: it adds no fact; what the page says stands beside the field.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, get_type_hints

import attrs

from stem_core.model.secrets import Secret
from stem_core.model.settings.config import StemConfig
from stem_core.model.settings.environment import settings_of
from stem_core.model.settings.security import SigningConfig, TlsConfig
from stem_core.model.settings.worker import WorkerSettings
from stem_core.model.structure import default_text, describe_type
from stem_core.model.urls import StemURL

__all__ = ["reference_markdown"]

_HEAD: Final = """\
# Configuration reference

<!-- Generated from the StemConfig class; a test compares. -->

Every setting is an environment variable. What comes first wins: an option of the
command line, a value given in code, the environment, a parameter of a URL, the default.

An empty variable counts as not set. Durations need a unit: `250ms`, `90s`, `5m`, `1h30m`, `7d`.
Booleans are `true` or `false`, `1` or `0`, `yes` or `no`, `on` or `off`; anything else is an
error. A variable that starts with `STEM_` and stands neither here nor in the
[command reference](cli.md) is a warning with the nearest name, and an error under
`STEM_STRICT=1`. All problems are reported at once.

Whatever can hold a secret can be given as a file instead, such as the ones that Docker and
Kubernetes mount: `NAME_FILE` is the path of a file that holds the value of `NAME`. White space
and line breaks around the value do not count. Both variables, or a file that is missing, empty
or has more in it, are an error. It is read at start; those of keys are read again when they change.
There are
@FILES@.

`stem config show --origin` prints what is in effect and where it comes from.
"""
_TABLE: Final = (
    "| variable | type | default | what it does | example |\n| --- | --- | --- | --- | --- |"
)


def reference_markdown() -> str:
    """Return ``docs/reference/configuration.md``."""
    sections = (
        ("Settings", StemConfig, ""),
        ("Worker", WorkerSettings, ""),
        ("TLS", TlsConfig, "TLS settings for a plaintext URL are an error, never ignored."),
        (
            "Signing",
            SigningConfig,
            "In a file (`STEM_SIGNING_KEYS_FILE` and so on) each key has a line of its own.",
        ),
    )
    head = _HEAD.replace("@FILES@", _file_variables(cls for _, cls, _ in sections))
    return "\n".join([head, *(_section(*section) for section in sections)])


def _file_variables(classes: Iterable[type[Any]]) -> str:
    names = [
        f"`{field.metadata['env']}_FILE`"
        for cls in classes
        for field in settings_of(cls)
        if field.metadata["or_file"]
    ]
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _section(title: str, cls: type[Any], note: str) -> str:
    parts = [f"## {title}", *([note] if note else []), "\n".join([_TABLE, *_rows(cls)])]
    return "\n\n".join(parts) + "\n"


def _rows(cls: type[Any]) -> Iterator[str]:
    hints = get_type_hints(cls)
    elsewhere = {
        field.name for base in cls.__bases__ if attrs.has(base) for field in attrs.fields(base)
    }
    for field in settings_of(cls):
        if field.name in elsewhere:
            continue
        cells = (
            f"`{field.metadata['env']}`",
            _type(field, hints[field.name]),
            _code(default_text(_default(field), hints[field.name])),
            field.metadata["help"],
            _code(field.metadata["example"]),
        )
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _type(field: attrs.Attribute[Any], hint: Any) -> str:
    if hint == StemURL | None:
        return "URL"
    if hint == Mapping[str, int]:
        return "queues"
    text = str(hint)
    if "Mapping" in text:
        return "keys" if Secret.__name__ in text or "bytes" in text else "pairs"
    return describe_type(hint)


def _default(field: attrs.Attribute[Any]) -> Any:
    return None if isinstance(field.default, attrs.Factory) else field.default  # type: ignore[arg-type]  # a class at run time


def _code(text: str) -> str:
    return f"`{text}`" if text else ""

"""The page of hooks: what a plugin may implement, with the signature and promise of each."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any, Final

import attrs

from stem_core.contracts import hookspecs
from stem_core.contracts.hookspecs import (
    AppInfo,
    BackendSpec,
    BrokerSpec,
    CommandSpec,
    HealthCheck,
    PluginContext,
    SignerSpec,
    Spec,
)
from stem_docs.tables import attributes, paragraphs, table

__all__ = ["hooks", "hooks_page"]

_HEAD: Final = """\
# Hooks

<!-- Generated from the hook specifications; a test compares. -->

A plugin is a thin module that imports nothing heavy: it names its factories and option classes by
text, and they are imported when a URL asks for them. Its functions are marked with `@hookimpl` and
have the name and the arguments of a hook on this page; an argument that is not needed may be left
out. All of it is imported from `stem_core.plugin`. A module says for which version of this page
it was written:

```python
from stem_core.plugin import PLUGIN_API

STEM_PLUGIN_API = ({major}, {minor})
assert STEM_PLUGIN_API <= PLUGIN_API
```

A plugin fits when its major version is equal to that of the installed core, and its minor version
not above it. It is found by an entry point of its distribution; [how to write a
broker](../plugins/write-a-broker.md) shows one from the first line to the last, and
`stem plugins new` writes one that works.
"""
_VALUES: Final = """\
## What hooks get and give

Frozen values, never the application.
"""


def hooks_page() -> str:
    """Return ``docs/reference/hooks.md``."""
    major, minor = hookspecs.PLUGIN_API
    head = _HEAD.format(major=major, minor=minor)
    return "\n".join([head, *map(_hook, hooks()), _VALUES, *_values()])


def hooks() -> list[Any]:
    """Return the specifications, in the order of their module."""
    return [each for name, each in vars(hookspecs).items() if name.startswith("stem_")]


def _hook(spec: Any) -> str:
    options = spec.stem_spec  # pluggy's own mark, named after the project
    answer = (
        "The first answer that is not None is taken."
        if options["firstresult"]
        else "Every plugin may answer."
    )
    signature = f"```text\n{_signature(spec)}\n```"
    return "\n\n".join([f"## {spec.__name__}", signature, paragraphs(spec), answer, ""])


def _signature(spec: Any) -> str:
    """Return the signature, one parameter a line where all do not fit in one."""
    signature = inspect.signature(spec)
    whole = f"{spec.__name__}{signature}".replace("'", "")
    if len(whole) <= 80:
        return whole
    lines = [f"    {each},".replace("'", "") for each in signature.parameters.values()]
    return "\n".join([f"{spec.__name__}(", *lines, f") -> {signature.return_annotation}"])


def _values() -> Iterator[str]:
    for cls in (Spec, CommandSpec, HealthCheck, AppInfo, PluginContext):
        yield f"### {cls.__name__}\n\n{_about(cls)}\n"
        said = attributes(cls)
        rows = [
            (
                f"`{each.name}`",
                f"`{each.type}`",
                _default(each),
                *([said[each.name]] if said else ()),
            )
            for each in attrs.fields(cls)
        ]
        header = ("field", "type", "default", *(["what it says"] if said else ()))
        yield table(header, rows) + "\n"


def _about(cls: type[Any]) -> str:
    kinds = [each.__name__ for each in (BrokerSpec, BackendSpec, SignerSpec)]
    names = f"`{'`, `'.join(kinds)}` have the same fields." if cls is Spec else ""
    return f"{paragraphs(cls)} {names}".strip()


def _default(field: attrs.Attribute[Any]) -> str:
    if field.default is attrs.NOTHING:
        return "needed"
    if isinstance(field.default, str | bool | tuple) or field.default is None:
        return f"`{field.default!r}`"
    return "of the system" if field.name in ("clock", "dice") else "empty"

"""The pages of URLs and of capabilities: what each installed plugin of ours says of itself."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from enum import Enum
from importlib import import_module
from typing import Any, Final

import msgspec

from stem_core.contracts.capabilities import BackendCapabilities, Capabilities, Durability, Support
from stem_core.discovery.host import PluginHost
from stem_core.discovery.table import SchemeInfo
from stem_docs.tables import attributes, remarks, table

__all__ = ["capabilities_page", "declared", "urls_page"]

_FAMILIES: Final = ("memory", "sqlite", "redis", "postgresql", "ed25519", "none")
"""One scheme of each plugin, in the order of the pages."""

_BY_ITS_SERVER: Final = ("redis", "postgresql")
"""Stores that ask their server how durable it is, when they are opened."""

_DAY_MS: Final = 86_400_000

_PLUGIN: Final = {
    "memory": "stem-core",
    "sqlite": "stem-core",
    "none": "stem-core",
    "redis": "stem-redis",
    "postgresql": "stem-postgres",
    "ed25519": "stem-signing",
}

_URLS: Final = """\
# URLs

<!-- Generated from the plugins; a test compares. -->

A URL chooses a broker, a result backend or a signer, and says where it is:

```text
scheme+variant://user:password@host:port/path?option=value&option=value
```

- A password with `@`, `/`, `?`, `#` or `%` in it is percent-encoded: `%40`, `%2F`, `%3F`, `%23`,
  `%25`.
- Several hosts are separated by commas, an IPv6 address stands in brackets.
- Durations need a unit: `250ms`, `5s`, `2m`. Booleans are `true` or `false`.
- An option that the plugin does not know is an error that names the nearest one; none is ignored.
- `stem plugins` lists what is installed, `stem plugins show SCHEME` says what this page says.

Where a message or a log shows a URL, its password is hidden.
"""
_CAPABILITIES: Final = """\
# Capabilities

<!-- Generated from what the brokers and backends declare; a test compares. -->

What a store can do, it declares, and `stem certify` proves. A call that asks for what its broker
cannot do is refused with `CapabilityMissing`, at start or at `enqueue`; nothing is ignored.
*native* is done by the store itself, *emulated* by our own means, *–* not at all.

## Brokers
"""
_DURABILITY: Final = """\
## How durable

Only `synced` is called "never loses".
"""


def urls_page() -> str:
    """Return ``docs/reference/urls.md``."""
    return "\n".join([_URLS, *(_section(family) for family in _FAMILIES)])


def capabilities_page() -> str:
    """Return ``docs/reference/capabilities.md``."""
    brokers, backends = _matrix("broker", Capabilities), _matrix("backend", BackendCapabilities)
    said = remarks(Durability)
    meaning = [(f"`{each.value}`", said[each.name]) for each in Durability]
    levels = table(("class", "what an accepted message survives"), meaning)
    parts = [_CAPABILITIES, brokers, "## Result backends\n", backends, _DURABILITY, levels, ""]
    return "\n".join(parts)


def declared(kind: str, family: str) -> Capabilities | BackendCapabilities | None:
    """Return what the store declares before it is opened; None if there is no such store."""
    for info in PluginHost().show(family):
        if info.kind == kind:
            module, _, name = info.factory.partition(":")
            home = sys.modules[getattr(import_module(module), name).__module__]
            constant = "CAPABILITIES" if kind == "broker" else "BACKEND_CAPABILITIES"
            found: Capabilities | BackendCapabilities | None = getattr(home, constant, None)
            return found
    return None


# ── URLs ─────────────────────────────────────────────────────────────────────


def _section(family: str) -> str:
    infos = PluginHost().show(family)
    shown = infos[0]
    parts = [
        f"## {family}",
        f"{_schemes(shown)}: {_summary(infos)}.",
        f"Opens {_kinds(infos)}; comes with {_PLUGIN[family]}.",
        *_examples(infos),
        *_options(shown),
    ]
    return "\n\n".join(parts) + "\n"


def _schemes(info: SchemeInfo) -> str:
    schemes = ", ".join(f"`{name}://`" for name in info.schemes)
    variants = " or ".join(f"`+{name}`" for name in info.variants)
    return f"{schemes}, alone or with {variants} behind the scheme" if variants else schemes


def _summary(infos: Sequence[SchemeInfo]) -> str:
    return "; ".join(dict.fromkeys(info.summary.rstrip(".") for info in infos))


def _kinds(infos: Sequence[SchemeInfo]) -> str:
    names = {"broker": "a broker", "backend": "a result backend", "signer": "a signer"}
    return " and ".join(names[info.kind] for info in infos)


def _examples(infos: Sequence[SchemeInfo]) -> Iterator[str]:
    examples = dict.fromkeys(each for info in infos for each in info.examples)
    if examples:
        yield "\n".join(["```text", *examples, "```"])


def _options(info: SchemeInfo) -> Iterator[str]:
    if not info.options:
        yield "It has no options."
        return
    said = attributes(_options_class(info))
    rows = [
        (f"`{each.name}`", each.type, f"`{each.default}`" if each.default else "", said[each.name])
        for each in info.options
    ]
    yield table(("option", "type", "default", "what it does"), rows)


def _options_class(info: SchemeInfo) -> type[Any]:
    plugin = import_module(info.module)
    hook = getattr(plugin, f"stem_register_{info.kind}s")
    (spec,) = (each for each in hook() if info.schemes[0] in each.schemes)
    module, _, name = spec.options.partition(":")
    found: type[Any] = getattr(import_module(module), name)
    return found


# ── capabilities ─────────────────────────────────────────────────────────────


def _matrix(kind: str, cls: type[msgspec.Struct]) -> str:
    stores = {family: found for family in _FAMILIES if (found := declared(kind, family))}
    said = attributes(cls)
    rows = [
        (f"`{name}`", *(_cell(family, name, found) for family, found in stores.items()), said[name])
        for name in cls.__struct_fields__
    ]
    header = ("", *(f"`{family}://`" for family in stores), "what it is")
    return table(header, rows) + "\n"


def _cell(family: str, name: str, found: Any) -> str:
    value = getattr(found, name)
    if name == "durability" and family in _BY_ITS_SERVER:
        return "as its server is set"
    if value is Support.ABSENT:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "–"
    if name == "max_delay_ms":
        return f"{value // _DAY_MS:,} days"
    if name in ("max_batch_bytes", "max_payload"):
        return f"{value / 2**20:g} MiB"
    return str(value.value if isinstance(value, Enum) else f"{value:,}")

"""From templates to the text of every file. Reads what is installed with Stem, writes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.metadata import version
from importlib.resources import files
from importlib.resources.abc import Traversable
from string import Template
from types import MappingProxyType
from typing import Final

from stem_core.contracts.hookspecs import PLUGIN_API
from stem_core.discovery.candidate import Kind
from stem_core.scaffold.naming import PluginNames

__all__ = ["rendered"]

_SUFFIX: Final = ".tmpl"
_NEEDS: Final[Mapping[Kind, tuple[str, ...]]] = MappingProxyType(
    {
        "broker": ("attrs>=24.1", "msgspec>=0.19"),
        "backend": ("attrs>=24.1", "msgspec>=0.19"),
        "signer": ("attrs>=24.1",),
    }
)


def rendered(names: PluginNames, kind: Kind) -> dict[str, str]:
    """Return the files of a plugin by their paths, with ``/`` between the parts."""
    told = _told(names, kind)
    found: dict[str, str] = {}
    for folder in ("common", kind):
        for path, text in _templates(files("stem_core.scaffold") / "templates" / folder, ""):
            path = path.replace("PACKAGE", names.package).replace("dot-", ".")
            found[path.removesuffix(_SUFFIX)] = Template(text).substitute(told)
    return dict(sorted(found.items()))


def _told(names: PluginNames, kind: Kind) -> dict[str, str]:
    """Return what stands for each ``$word`` of the templates."""
    core = core_range(version("stem-core"))
    needs = (f"stem-core{core}", *_NEEDS[kind])
    return {
        "kind": kind,
        "scheme": names.scheme,
        "distribution": names.distribution,
        "package": names.package,
        "prefix": names.prefix,
        "api": ", ".join(map(str, PLUGIN_API)),
        "core_range": core,
        "requirements": ", ".join(f'"{need}"' for need in needs),
    }


def core_range(installed: str) -> str:
    """Return the releases of stem-core that a plugin made with *installed* works with.

    Before 1.0 a minor release may change the plugin API, from then on a major one.
    """
    major, minor = (int(part) for part in installed.split(".")[:2])
    below = f"0.{minor + 1}" if major == 0 else f"{major + 1}"
    return f">={major}.{minor},<{below}"


def _templates(folder: Traversable, path: str) -> Iterator[tuple[str, str]]:
    for each in folder.iterdir():
        if each.is_dir():
            yield from _templates(each, f"{path}{each.name}/")
        elif each.name.endswith(_SUFFIX):
            yield f"{path}{each.name}", each.read_text("utf-8")

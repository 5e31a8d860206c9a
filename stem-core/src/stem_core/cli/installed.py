"""Which commands plugins add, read from the files that installers leave, and from nothing else.

Rule of this module: it answers only what it is sure of. `importlib.metadata` costs more
than all else that a `--help` does together, so it is asked only where files do not tell
the whole: a path inside a zip, a finder of somebody's own, two plugins with one name.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.machinery import PathFinder
from typing import Final

__all__ = ["commands_installed"]

_GROUP: Final = "stem.commands"


def commands_installed(path: Sequence[str] | None = None) -> Mapping[str, str] | None:
    """Return the summaries of the commands of plugins on *path* (`sys.path`), by name.

    Returns None where it takes the plugin host to say; nothing is imported.
    """
    others = [finder for finder in sys.meta_path if finder is not PathFinder]
    if any(hasattr(finder, "find_distributions") for finder in others):
        return None
    found: dict[str, str] = {}
    try:
        for folder in _metadata_folders(sys.path if path is None else path):
            for name in _commands_in(os.path.join(folder, "entry_points.txt")):
                if name in found:
                    return None
                found[name] = _from(folder)
    except (OSError, ValueError):  # one unreadable distribution: the host reads around it
        return None
    return found


def _metadata_folders(path: Sequence[str]) -> Iterator[str]:
    """Yield the folder of each distribution, the first on *path* where a name is there twice."""
    seen: set[str] = set()
    for place in dict.fromkeys(each or os.curdir for each in path):
        if os.path.isfile(place) or place.lower().endswith(".egg"):
            raise ValueError(place)
        if not os.path.isdir(place):
            continue
        for entry in sorted(os.listdir(place)):
            stem, kind = os.path.splitext(entry)
            name = stem.partition("-")[0].lower().replace("-", "_")
            if kind in (".dist-info", ".egg-info") and name not in seen:
                seen.add(name)
                yield os.path.join(place, entry)


def _commands_in(file: str) -> Iterator[str]:
    """Yield the names in our section of an ``entry_points.txt``; none when there is no file."""
    try:
        with open(file, encoding="utf-8") as lines:
            text = lines.read()
    except (FileNotFoundError, NotADirectoryError):
        return
    section = ""
    for line in map(str.strip, text.splitlines() if _GROUP in text else ()):
        if line.startswith("["):
            section = line.strip("[]").strip()
        elif section == _GROUP and "=" in line and not line.startswith("#"):
            yield line.partition("=")[0].strip()


def _from(folder: str) -> str:
    """Say which distribution it is; its name is spelled there as its author spells it."""
    facts: dict[str, str] = {}
    name = "METADATA" if folder.endswith(".dist-info") else "PKG-INFO"
    with open(os.path.join(folder, name), encoding="utf-8") as lines:
        for line in lines:
            key, colon, value = line.partition(":")
            if not colon:  # the end of the head: what follows is prose
                break
            facts.setdefault(key.strip().lower(), value.strip())
    if not facts.get("name") or not facts.get("version"):
        raise ValueError(folder)
    return f"from {facts['name']} {facts['version']}"

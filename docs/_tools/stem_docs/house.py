"""The picture of the house: the rooms of stem-core, drawn from the import contracts.

What stands on what is read from `pyproject.toml`, which the linter enforces. Here is only
what a room is for, in a few words; a room without them is an error.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from stem_docs.drawing import arrow, box, document, shape, text

__all__ = ["house"]

ROOT: Final = Path(__file__).parents[3]

_WORDS: Final = {
    "cli": "the stem command",
    "testing": "tools for tests",
    "scaffold": "writes new plugins",
    "worker": "fetches, runs, settles",
    "producer": "tasks, calls, the client",
    "discovery": "finds plugins",
    "embedded": "no server",
    "observe": "logs, metrics",
    "plugin": "all that a plugin imports",
    "contracts": "what a store promises",
    "failpoints": "crashes on request",
    "model": "facts, pure: no clock, no socket",
}
_LEFT, _WIDTH, _WING, _GAP = 8, 384, 116, 6
_FLOOR, _ROOF = 46, 54


def house() -> str:
    """Return the picture."""
    floors = _floors()
    above = next(row for row, names in enumerate(floors) if "plugin" in names)
    parts = [*_roof(), *_rooms(floors, above), *_adapters(above)]
    about = "From the roof down: " + "; ".join(", ".join(names) for names in floors)
    size = (_LEFT * 2 + _WIDTH, _top(len(floors)) + 4)
    return document("house", size, "The rooms of stem-core", parts, about=f"{about}.")


def _floors() -> list[list[str]]:
    """Return the rooms that exist, from the roof down."""
    (rooms,) = (each for each in _contracts() if each["id"] == "rooms")
    floors = [[name.strip(" ()") for name in layer.split("|")] for layer in rooms["layers"]]
    return [found for names in floors if (found := list(filter(_exists, names)))]


def _contracts() -> list[dict[str, Any]]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    found: list[dict[str, Any]] = settings["tool"]["importlinter"]["contracts"]
    return found


def _exists(room: str) -> bool:
    place = ROOT / "stem-core" / "src" / "stem_core"
    return not room.startswith("__") and (
        (place / room).is_dir() or (place / f"{room}.py").is_file()
    )


def _top(row: int) -> int:
    return _ROOF + (_FLOOR + _GAP) * row


def _roof() -> Iterator[str]:
    main = _WIDTH - _WING - _GAP
    yield shape([(_LEFT, _ROOF - _GAP), (_LEFT + main / 2, 4), (_LEFT + main, _ROOF - _GAP)])
    yield text(_LEFT + main / 2, _ROOF - 18, "import stem_core", "code")


def _rooms(floors: list[list[str]], above: int) -> Iterator[str]:
    for row, names in enumerate(floors):
        whole = _WIDTH if row >= above else _WIDTH - _WING - _GAP
        width = (whole - _GAP * (len(names) - 1)) / len(names)
        for place, name in enumerate(names):
            x = _LEFT + (width + _GAP) * place
            yield box(x, _top(row), width, _FLOOR)
            yield text(x + width / 2, _top(row) + 15, name, "name")
            yield text(x + width / 2, _top(row) + 32, _WORDS[name], "soft")


def _adapters(above: int) -> Iterator[str]:
    """Yield the wing: distributions that see contracts and model only."""
    (contract,) = (each for each in _contracts() if each["id"] == "adapters")
    names = [name for name in contract["source_modules"] if "." not in name]
    x = _LEFT + _WIDTH - _WING
    first = above - len(names)
    for row, name in enumerate(names, first):
        yield box(x, _top(row), _WING, _FLOOR, "dashed")
        yield text(x + _WING / 2, _top(row) + _FLOOR / 2, name.replace("_", "-"), "name")
    yield text(x + _WING / 2, _top(first) - 32, "adapters,", "soft")
    yield text(x + _WING / 2, _top(first) - 16, "ours or yours:", "soft")
    yield arrow("house", f"M{x + _WING / 2:g} {_top(above) - _GAP} v{_GAP}")

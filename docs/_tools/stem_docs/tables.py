"""Tables and sentences of Markdown, from docstrings that the code has anyway."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, Final

__all__ = ["attributes", "paragraphs", "remarks", "sentence", "table"]

_SECTION: Final = re.compile(r"^(Attributes|Raises|Args|Returns):$", re.MULTILINE)
_ENTRY: Final = re.compile(r"^    (\w+(?:, \w+)*): (.*(?:\n     .*)*)", re.MULTILINE)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; a bar within a cell stays one."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def paragraphs(thing: Any) -> str:
    """Return what the docstring of *thing* says before its sections, as Markdown."""
    text = inspect.cleandoc(thing.__doc__ or "")
    return _markdown(_SECTION.split(text)[0].strip())


def sentence(thing: Any) -> str:
    """Return the first paragraph of the docstring of *thing*, as one line."""
    return " ".join(paragraphs(thing).partition("\n\n")[0].split())


def attributes(cls: type[Any]) -> dict[str, str]:
    """Return what the docstring of *cls* says of each attribute, as one line."""
    text = inspect.cleandoc(cls.__doc__ or "")
    _, found, section = text.partition("Attributes:\n")
    entries = _ENTRY.findall(section) if found else []
    return {
        name: _markdown(" ".join(words.split()))
        for names, words in entries
        for name in names.split(", ")
    }


def remarks(cls: type[Any]) -> dict[str, str]:
    """Return what the source of an enum says of each member: behind it, or in the line below."""
    lines = [line.strip() for line in inspect.getsource(cls).splitlines()] + [""]
    found: dict[str, str] = {}
    for line, below in pairwise(lines):
        name, assigned, value = line.partition(" = ")
        if assigned and name.isupper():
            behind = value.partition("  # ")[2]
            found[name] = _markdown(behind or below.strip('"'))
    return found


def _markdown(text: str) -> str:
    """Return *text* of a docstring with the quotes of code as Markdown has them."""
    return text.replace("``", "`")

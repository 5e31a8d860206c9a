"""The SQL of this store: read from its files, and named by the namespace that it is about.

A file holds statements under lines ``-- name: …``; `Statements` knows them as
``file.name``. In the files every table begins with ``stem_``, so that each of them can be
run as it is; for another namespace that beginning is replaced.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Final

__all__ = ["SCHEMA", "Statements", "for_namespace", "pieces"]

_FOLDER: Final = Path(__file__).parent / "sql"
SCHEMA: Final = _FOLDER / "schema"

_NAME: Final = re.compile(r"^-- name: (\w+)$", re.MULTILINE)
_COMMENT: Final = re.compile(r"--[^\n]*")
_TABLE: Final = re.compile(r"(?P<quote>'?)\bstem_(?P<rest>\w+)(?P=quote)")
_EACH_ROW: Final = re.compile(r"(\([?, ]+\)) /\* each \*/")
_EACH_VALUE: Final = re.compile(r"\? /\* each \*/")

_SIZES: Final = (100, 20, 5, 1)
"""How many rows one statement takes: few sizes, so that few statements are prepared."""


def for_namespace(sql: str, namespace: str) -> str:
    """Return *sql* about the tables of *namespace*."""

    def named(match: re.Match[str]) -> str:
        quote = match["quote"] or '"'
        return f"{quote}{namespace}_{match['rest']}{quote}"

    return _TABLE.sub(named, sql)


def pieces(count: int) -> list[int]:
    """Cut *count* rows into as few of the known sizes as cover them exactly."""
    cut = []
    for size in _SIZES:
        cut += [size] * (count // size)
        count %= size
    return cut


class Statements:
    """Every statement about the tables of one namespace."""

    def __init__(self, namespace: str) -> None:
        self._texts: Final = {
            name: for_namespace(text, namespace) for name, text in _read_all().items()
        }
        self._repeated: Final[dict[tuple[str, int], str]] = {}

    def __getitem__(self, name: str) -> str:
        return self._texts[name]

    def repeated(self, name: str, count: int) -> str:
        """Return the statement with its ``/* each */`` standing *count* times."""
        key = (name, count)
        text = self._repeated.get(key)
        if text is None:
            text = self._repeated[key] = _repeat(self._texts[name], count)
        return text


def _repeat(text: str, count: int) -> str:
    if _EACH_ROW.search(text):
        return _EACH_ROW.sub(lambda row: ", ".join([row[1]] * count), text)
    return _EACH_VALUE.sub(", ".join(["?"] * count), text)


@cache
def _read_all() -> dict[str, str]:
    found: dict[str, str] = {}
    for path in sorted(_FOLDER.glob("*.sql")):
        _, *named = _NAME.split(path.read_text("utf-8"))
        for name, text in zip(named[::2], named[1::2], strict=True):
            found[f"{path.stem}.{name}"] = _COMMENT.sub("", text).strip().rstrip(";")
    return found

"""The SQL of this store: read from its files, and written for the schema that it is about.

A file of ``sql/statements`` holds statements under lines ``-- name: …``; they are known as
``file.name``. The files of ``sql/functions`` and ``sql/schema`` are run as they are. In all of
them the schema is called ``stem.``, so that each can be read and run by itself.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import Final

__all__ = ["Statements", "for_schema", "functions", "plain", "statements", "steps"]

_NAME: Final = re.compile(r"^-- name: (\w+)$", re.MULTILINE)
_COMMENT: Final = re.compile(r"--[^\n]*")
_SCHEMA: Final = re.compile(r"\bstem\.(?=[\w%])")

Statements = dict[str, bytes]
"""Texts by ``file.name``, as the driver takes them."""


def for_schema(sql: str, schema: str) -> str:
    """Return *sql* about the tables and functions of *schema*."""
    return _SCHEMA.sub(f'"{schema}".', sql)


def plain(sql: str) -> str:
    """Return *sql* without what changes nothing: its comments, and how it is laid out."""
    return " ".join(_COMMENT.sub("", sql).split())


@cache
def statements(schema: str) -> Statements:
    """Return every statement, for *schema*."""
    found: Statements = {}
    for file, text in _read("statements"):
        _, *named = _NAME.split(text)
        for name, body in zip(named[::2], named[1::2], strict=True):
            plain = _COMMENT.sub("", body).strip().rstrip(";")
            found[f"{file}.{name}"] = for_schema(plain, schema).encode()
    return found


def steps() -> list[str]:
    """Return the SQL of every step of the tables, the first one first."""
    return [text for _, text in _read("schema")]


def functions() -> str:
    """Return the SQL that makes every function anew."""
    return "\n".join(text for _, text in _read("functions"))


def _read(folder: str) -> list[tuple[str, str]]:
    entries = files("stem_postgres").joinpath("sql", folder).iterdir()
    found = [(each.name, each.read_text("utf-8")) for each in entries if each.name.endswith(".sql")]
    return [(name.removesuffix(".sql"), text) for name, text in sorted(found)]

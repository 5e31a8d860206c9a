"""The tables and functions of one schema: made, brought up to date, or refused.

Steps are numbered SQL files, applied once each and in order; the functions are made anew behind
them. All of it is one transaction, and one process at a time does it. A schema that a newer
release has changed is refused: this one could only guess what it means.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from stem_core.plugin import StoreMisconfigured
from stem_postgres.statements import for_schema, functions, statements, steps

__all__ = ["LATEST", "check_version", "script"]

LATEST: Final = len(steps())
"""The version that this release knows, and works with."""


def check_version(version: int | None, shown: str, schema: str) -> None:
    """Refuse tables that are absent, older or newer; *version* is None when there are none.

    Raises:
        StoreMisconfigured: names the command that helps.
    """
    up = f"Run: stem migrate up '{shown}'"
    if version is None:
        raise StoreMisconfigured(f"{shown}: there are no tables in the schema {schema}", way_out=up)
    if version < LATEST:
        raise StoreMisconfigured(
            f"{shown}: the tables in the schema {schema} have version {version}, "
            f"this release needs {LATEST}",
            way_out=up,
        )
    if version > LATEST:
        raise StoreMisconfigured(
            f"{shown}: the tables in the schema {schema} have version {version}, "
            f"this release knows versions up to {LATEST}",
            way_out="Upgrade stem-postgres in this process, or name another schema=.",
        )


def script(version: int, schema: str, todo: Sequence[str] = ()) -> str:
    """Return the SQL that brings *schema* from *version* to the latest; empty when it is there.

    It is to be run in one transaction.
    """
    todo = todo or steps()
    if version >= len(todo):
        return ""
    made = "" if version else f'CREATE SCHEMA IF NOT EXISTS "{schema}";\n'
    last = statements(schema)["meta.set_version"].decode().replace("%s", str(len(todo)))
    texts = [for_schema(text, schema) for text in (*todo[version:], functions())]
    return "\n".join([made, *texts, f"{last};\n"])

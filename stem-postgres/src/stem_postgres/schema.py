"""The tables and functions of one schema: made, brought up to date, or refused.

Steps are numbered SQL files, applied once each and in order; the functions are made anew behind
them. All of it is one transaction, and one process at a time does it. A schema that a newer
release has changed is refused: this one could only guess what it means. Functions of a newer
release serve this one too, and are left as they are; those of an older one are refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum, auto
from functools import cache
from hashlib import sha256
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from typing import Final

from attrs import frozen

from stem_core.plugin import StoreMisconfigured
from stem_postgres.errors import migrate_up
from stem_postgres.statements import for_schema, functions, plain, statements, steps

__all__ = ["LATEST", "Functions", "Schema", "check_schema", "script"]

LATEST: Final = len(steps())
"""The version that this release knows, and works with."""

_SEAL: Final = re.compile(r"functions of stem-postgres ([0-9][^ ]*), ([0-9a-f]+)")


class Functions(Enum):
    """Whose functions there are, as this release sees them."""

    OURS = auto()
    OLDER = auto()
    NEWER = auto()


@frozen
class Schema:
    """What there is.

    Attributes:
        version: of the tables; how many steps were applied.
        seal: what whoever made the functions has left on the table ``version``.
    """

    version: int
    seal: str = ""

    @property
    def functions(self) -> Functions:
        """Whose functions there are; nobody knows an order but that of the releases."""
        found = _SEAL.fullmatch(self.seal)
        if found is None:
            return Functions.OLDER
        if found[2] == _digest():
            return Functions.OURS
        return Functions.NEWER if _numbers(found[1]) > _numbers(_release()) else Functions.OLDER

    @property
    def is_ours(self) -> bool:
        """Whether there is nothing to do."""
        return self.version == LATEST and self.functions is not Functions.OLDER


def check_schema(found: Schema | None, shown: str, schema: str) -> None:
    """Refuse what is absent, or what this release does not work with; None is absent.

    Raises:
        StoreMisconfigured: names the command that helps.
    """
    up = migrate_up(shown)
    if found is None:
        raise StoreMisconfigured(f"{shown}: there are no tables in the schema {schema}", way_out=up)
    if found.version < LATEST:
        raise StoreMisconfigured(
            f"{shown}: the tables in the schema {schema} have version {found.version}, "
            f"this release needs {LATEST}",
            way_out=up,
        )
    if found.version > LATEST:
        raise StoreMisconfigured(
            f"{shown}: the tables in the schema {schema} have version {found.version}, "
            f"this release knows versions up to {LATEST}",
            way_out="Upgrade stem-postgres in this process, or name another schema=.",
        )
    if found.functions is Functions.OLDER:
        raise StoreMisconfigured(
            f"{shown}: the functions in the schema {schema} are those of an earlier release",
            way_out=up,
        )


def script(found: Schema, schema: str, todo: Sequence[str] = ()) -> str:
    """Return the SQL that brings *schema* from what is *found* to the latest; empty if it is.

    It is to be run in one transaction.
    """
    todo = todo or steps()
    version, ours = found.version, found.functions
    if version > len(
        todo
    ):  # whoever made the functions: those of newer tables are not for us to make
        return ""
    if version >= len(todo) and ours is not Functions.OLDER:
        return ""
    texts = [*todo[version:], *([functions()] if ours is Functions.OLDER else [])]
    made = "" if version else f'CREATE SCHEMA IF NOT EXISTS "{schema}";\n'
    last = statements(schema)["meta.set_version"].decode().replace("%s", str(len(todo)))
    seal = for_schema(f"COMMENT ON TABLE stem.version IS '{_seal()}';", schema)
    ends = [*([seal] if ours is Functions.OLDER else []), f"{last};"]
    return "\n".join([made, *(for_schema(text, schema) for text in texts), *ends, ""])


def _seal() -> str:
    return f"functions of stem-postgres {_release()}, {_digest()}"


@cache
def _digest() -> str:
    return sha256(plain(functions()).encode()).hexdigest()[:32]


def _release() -> str:
    try:
        return version_of("stem-postgres")
    except PackageNotFoundError:  # run from its sources, and nothing is installed
        return "0"


def _numbers(release: str) -> tuple[int, ...]:
    """Return what orders releases; one that is not final yet is as good as it."""
    found = re.match(r"[0-9]+(\.[0-9]+)*", release)
    return tuple(map(int, found[0].split("."))) if found else ()

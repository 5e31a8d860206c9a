"""Arrays as PostgreSQL takes them, a column at a time.

The driver asks each element for its kind and dumps it by itself, which costs more than all else
that this side does with a batch. Here a column says what it is, and is written in one go. On a
connection of the caller these are plain lists, which the driver writes in its own way. Pure.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from itertools import chain, repeat
from typing import Any, ClassVar, Final

from psycopg import DataError
from psycopg.abc import AdaptContext
from psycopg.adapt import Dumper
from psycopg.pq import Format

__all__ = ["ARRAYS", "Booleans", "Bytes", "Int2s", "Int4s", "Int8s", "Texts", "columns", "register"]

_HEAD: Final = struct.Struct(">iiIii")
_EMPTY: Final = struct.Struct(">iiI")
_size: Final = struct.Struct(">i").pack


class _Array(list[Any]):
    """A column without NULL.

    Attributes:
        oid, element_oid: of the array and of what is in it, the same in every database.
    """

    oid: ClassVar[int]
    element_oid: ClassVar[int]

    def dumped(self) -> bytes:
        """Return it in the binary format of the server."""
        count = len(self)
        if not count:
            return _EMPTY.pack(0, 0, self.element_oid)
        head = _HEAD.pack(1, 0, self.element_oid, count, 1)
        if self.count(self[0]) == count:  # one queue, one task: most columns are so
            return head + self._elements(self[:1]) * count
        return head + self._elements(self)

    def _elements(self, values: Sequence[Any]) -> bytes:
        raise NotImplementedError


class _Fixed(_Array):
    code: ClassVar[str]

    def _elements(self, values: Sequence[Any]) -> bytes:
        size = struct.calcsize(">" + self.code)
        words = chain.from_iterable(zip(repeat(size), values, strict=False))
        try:
            return struct.pack(">" + ("i" + self.code) * len(values), *words)
        except struct.error as error:
            raise DataError(f"{type(self).__name__}: {error}") from None


class Booleans(_Fixed):
    """boolean[]"""

    oid, element_oid, code = 1000, 16, "?"


class Int2s(_Fixed):
    """smallint[]"""

    oid, element_oid, code = 1005, 21, "h"


class Int4s(_Fixed):
    """integer[]"""

    oid, element_oid, code = 1007, 23, "i"


class Int8s(_Fixed):
    """bigint[]"""

    oid, element_oid, code = 1016, 20, "q"


class Bytes(_Array):
    """bytea[]"""

    oid, element_oid = 1001, 17

    def _elements(self, values: Sequence[Any]) -> bytes:
        return _sized(values)


class Texts(_Array):
    """text[]"""

    oid, element_oid = 1009, 25

    def _elements(self, values: Sequence[Any]) -> bytes:
        return _sized([value.encode() for value in values])


ARRAYS: Final = (Booleans, Bytes, Int2s, Int4s, Int8s, Texts)


def _sized(values: Sequence[bytes]) -> bytes:
    sizes = map(_size, map(len, values))
    return b"".join(chain.from_iterable(zip(sizes, values, strict=True)))


def columns(rows: Iterable[Sequence[Any]], kinds: Sequence[type[_Array]]) -> list[_Array]:
    """Return *rows* column by column, each of its kind.

    Raises:
        ValueError: a row has more or fewer columns than there are kinds.
    """
    return [kind(column) for kind, column in zip(kinds, zip(*rows, strict=True), strict=True)]


class _ArrayDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: _Array) -> bytes:
        return obj.dumped()


def register(context: AdaptContext) -> None:
    """Let the connection *context* write arrays of these kinds in one go."""
    for kind in ARRAYS:
        dumper = type(f"{kind.__name__}Dumper", (_ArrayDumper,), {"oid": kind.oid})
        context.adapters.register_dumper(kind, dumper)

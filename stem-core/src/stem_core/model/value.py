"""`Value`: what the frozen values that cross a contract are made of.

Configuration, options and specs are attrs classes. What Stem and a store hand to each
other is made ten times as fast as a msgspec Struct, its class costs next to nothing at
start, and the garbage collector need not look at it: it can hold no cycle, for it is
frozen and holds only text, numbers, bytes, plain JSON and other values. Rule of this
module: it names no field.
"""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec
from msgspec.structs import replace

__all__ = ["Value", "replace"]


class Value(msgspec.Struct, frozen=True, gc=False):
    """A frozen value: compared by its fields; changed copies are made by `replace`.

    A subclass lists in `_hidden` the fields that its repr does not show, because they
    hold what users sent.
    """

    _hidden: ClassVar[frozenset[str]] = frozenset()

    def __repr__(self) -> str:
        shown = (
            f"{name}={getattr(self, name)!r}"
            for name in self.__struct_fields__
            if name not in self._hidden
        )
        return f"{type(self).__name__}({', '.join(shown)})"

    def __rich_repr__(self) -> Any:
        """Yield what `rich` may show."""
        for name in self.__struct_fields__:
            if name not in self._hidden:
                yield name, getattr(self, name)

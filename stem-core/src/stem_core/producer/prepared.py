"""Messages of calls that have passed every check, made when they are asked for.

Rule of this module: nothing here can fail, for others are published by then.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import repeat
from typing import Final, TypeAlias

from stem_core.contracts.messages import Message
from stem_core.model.frame import Frame
from stem_core.model.ids import uuid7s
from stem_core.model.value import replace

__all__ = ["Plain", "Prepared"]

_MADE_AT_ONCE: Final = 500

Plain: TypeAlias = tuple[Message, Frame, bytes]
"""A call that says nothing but its arguments: what its plan knows of it, and these as text."""


class Prepared(Collection[Message]):
    """Messages of calls that have passed; each is made when it is first asked for, all with
    ids of one instant."""

    def __init__(
        self, checked: Sequence[Message | Plain], now_ms: int, random: Callable[[int], bytes]
    ) -> None:
        self._checked = checked
        self._now_ms = now_ms
        self._random = random
        self._made: list[Message] = []

    def __len__(self) -> int:
        return len(self._checked)

    def __contains__(self, message: object) -> bool:
        return message in list(self)

    def __iter__(self) -> Iterator[Message]:
        made = self._made
        return iter(made) if len(made) == len(self._checked) else self._making()

    def _making(self) -> Iterator[Message]:
        made, total = self._made, len(self._checked)
        place = 0
        while place < total:
            if place == len(made):
                self._make_more(place)
            yield made[place]
            place += 1

    def _make_more(self, start: int) -> None:
        some, now_ms = self._checked[start : start + _MADE_AT_ONCE], self._now_ms
        ids = uuid7s(now_ms, b"".join(map(self._random, repeat(10, len(some)))))
        for id, each in zip(ids, some, strict=True):
            if isinstance(each, Message):
                self._made.append(each)
            else:
                routing, frame, text = each
                body = frame.body(id, now_ms, text)
                self._made.append(replace(routing, id=id, body=body))

"""`Broker.publish` in words of SQL: what is sent, and what its reply means. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from stem_core.plugin import Message, Published, PublishStatus
from stem_postgres.objections import objection_to
from stem_postgres.rows import columns_of, row_of

__all__ = ["Batch"]

_STATUSES: Final = (
    PublishStatus.CREATED,
    PublishStatus.DUPLICATE,
    PublishStatus.UNIQUE,
    PublishStatus.CONFLICT,
)


class Batch:
    """The messages of one call.

    Attributes:
        sent: those that can be kept, in order.
    """

    def __init__(self, messages: Sequence[Message], wall_ms: int) -> None:
        self._count = len(messages)
        self._refused: dict[int, Published] = {}
        for place, message in enumerate(messages):
            if objection := objection_to(message, wall_ms):
                refusal = Published(PublishStatus.REFUSED, message.id, objection)
                self._refused[place] = refusal
        self.sent = [each for place, each in enumerate(messages) if place not in self._refused]

    @property
    def arguments(self) -> Sequence[list[Any]]:
        """What the function takes of them."""
        return columns_of(self.sent)

    @property
    def alone(self) -> Sequence[Any]:
        """What the function takes of one message that is sent alone."""
        return row_of(self.sent[0])

    def replies(self, rows: Sequence[Sequence[Any]]) -> list[Published]:
        """Read the reply, and put what was refused where it stood."""
        found = [Published(PublishStatus.CREATED, message.id) for message in self.sent]
        for n, status, detail in rows:
            kind = _STATUSES[status]
            id = detail if kind is PublishStatus.UNIQUE else self.sent[n - 1].id
            found[n - 1] = Published(kind, id)
        rest: Iterator[Published] = iter(found)
        return [
            self._refused[place] if place in self._refused else next(rest)
            for place in range(self._count)
        ]

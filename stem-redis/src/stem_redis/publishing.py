"""`Broker.publish` in words of the script: what is sent, and what its reply means. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from stem_core.plugin import Message, Published, PublishStatus
from stem_redis.line import Arg
from stem_redis.objections import is_small, objection_to
from stem_redis.packing import (
    digest_of,
    fixed_row,
    message_bytes,
    plain_row_around,
    wait_of,
)

__all__ = ["arguments", "judged", "merged", "plain_arguments", "replies"]

_CREATED: Final = PublishStatus.CREATED
_STATUSES: Final = (
    PublishStatus.CREATED,
    PublishStatus.DUPLICATE,
    PublishStatus.UNIQUE,
    PublishStatus.CONFLICT,
    PublishStatus.REFUSED,
)


def judged(messages: Sequence[Message]) -> tuple[Sequence[Message], dict[int, Published]]:
    """Return the messages to send, and by position the replies to those that never can be."""
    refused: dict[int, Published] = {}
    for place, message in enumerate(messages):
        if objection := objection_to(message):
            refused[place] = Published(PublishStatus.REFUSED, message.id, objection)
    if not refused:
        return messages, refused
    return [each for place, each in enumerate(messages) if place not in refused], refused


def arguments(messages: Sequence[Message]) -> list[Arg]:
    """Return the four arguments of each of *messages*."""
    args: list[Arg] = []
    for message in messages:
        args += (message.id, fixed_row(message), wait_of(message), message_bytes(message))
    return args


def plain_arguments(messages: Sequence[Message]) -> list[Arg] | None:
    """Return what the script of plain messages takes: queue and level of all, then the three of
    each. None if they are not of one queue and priority, share an id, or one is not plain: not
    ready at once, with a claim, or never to be kept."""
    if len(messages) != 1 and len({message.id for message in messages}) < max(1, len(messages)):
        return None
    first = messages[0]
    args: list[Arg] = [first.queue, 9 - first.priority]
    alike: tuple[str, int, int, int] | None = None
    before = behind = b""
    for message in messages:
        kind = (message.queue, message.priority, message.lease_ms, message.dedupe_for_ms)
        if kind != alike:  # mostly only the first
            if kind[:2] != (first.queue, first.priority) or objection_to(message):
                return None
            alike, (before, behind) = kind, plain_row_around(message)
        if not _is_plain(message):
            return None
        row = b"".join((before, digest_of(message.body), behind))
        args += (message.id, row, message_bytes(message))
    return args


def _is_plain(message: Message) -> bool:
    """Decide whether a message like one that can be kept is ready at once and claims no key."""
    return (
        message.unique is None
        and message.delay_ms <= 0
        and not message.not_before_ms
        and is_small(message)
    )


def replies(messages: Sequence[Message], reply: Any) -> list[Published]:
    """Read the reply of the script."""
    if reply == 0:
        return [Published(_CREATED, message.id) for message in messages]
    pairs = zip(reply[::2], reply[1::2], strict=True)
    return [
        _read(message, _STATUSES[status], detail.decode(errors="replace"))
        for message, (status, detail) in zip(messages, pairs, strict=True)
    ]


def _read(message: Message, status: PublishStatus, detail: str) -> Published:
    if status is PublishStatus.UNIQUE:
        return Published(status, detail)
    return Published(status, message.id, detail)


def merged(
    count: int, refused: dict[int, Published], sent: Sequence[Published]
) -> Sequence[Published]:
    """Put the replies back into the order of the call."""
    if not refused:
        return sent
    rest: Iterator[Published] = iter(sent)
    return [refused[place] if place in refused else next(rest) for place in range(count)]

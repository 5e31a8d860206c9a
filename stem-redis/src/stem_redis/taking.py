"""`Broker.fetch` in words of the script: what its reply means. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from attrs import frozen

from stem_core.plugin import Delivery, StoreError
from stem_redis.packing import message_bytes, queue_of, read_delivery, readable

__all__ = ["Taken", "read_taken"]

_PER_DELIVERY: Final = 5
_ANEW: Final = "!"


@frozen(kw_only=True)
class Taken:
    """What one look brought.

    Attributes:
        deliveries: leased now.
        vanished: ids that stood in a queue and whose message is not there any more.
        damaged: ids of messages that somebody has overwritten, whole or in part. What cannot be
            read is the body of a delivery like any other.
        at_ms: when the server looked, by its clock.
        look_again_ms: from now, when something is due; what was waited for if nothing is.
        cursors: by queue, where its wakes stand.
    """

    deliveries: Sequence[Delivery] = ()
    vanished: Sequence[str] = ()
    damaged: Sequence[str] = ()
    at_ms: int = 0
    look_again_ms: int = 0
    cursors: Mapping[str, str] = {}


def read_taken(queues: Sequence[str], reply: Any) -> Taken:
    """Read the reply of the script."""
    found, now_ms = reply[0], reply[1]
    if not found:
        cursors = dict(zip(queues, (at.decode() for at in reply[3:]), strict=False))
        look_again_ms = max(0, reply[2] - now_ms)
        return Taken(at_ms=now_ms, look_again_ms=look_again_ms, cursors=cursors)
    told = reply[2].decode(errors="replace").split()
    damaged = [id.removeprefix(_ANEW) for id in told if id.startswith(_ANEW)]
    try:
        deliveries = [
            read_delivery(now_ms, reply[at + 1 : at + _PER_DELIVERY])
            for at in range(3, len(reply), _PER_DELIVERY)
        ]
    except StoreError:
        deliveries = list(_whatever_it_is(now_ms, reply, damaged))
    vanished = [id for id in told if not id.startswith(_ANEW)] if damaged else told
    return Taken(at_ms=now_ms, deliveries=deliveries, vanished=vanished, damaged=damaged)


def _whatever_it_is(now_ms: int, reply: Any, damaged: list[str]) -> Iterator[Delivery]:
    """Read deliveries of which at least one holds no message, and add those to *damaged*."""
    for at in range(3, len(reply), _PER_DELIVERY):
        id, row, data, errors, reason = reply[at : at + _PER_DELIVERY]
        try:
            yield read_delivery(now_ms, (row, data, errors, reason))
        except StoreError:
            name = id.decode(errors="replace")
            damaged.append(name)
            instead = message_bytes(readable(name, queue_of(row), data))
            yield read_delivery(now_ms, (row, instead, errors, reason))

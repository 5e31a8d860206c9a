"""`Broker.fetch` in words of the script: what its reply means. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen

from stem_core.plugin import Delivery
from stem_redis.packing import read_delivery

__all__ = ["Taken", "read_taken"]

_PER_DELIVERY = 5


@frozen(kw_only=True)
class Taken:
    """What one look brought.

    Attributes:
        deliveries: leased now.
        vanished: ids that stood in a queue and whose message is not there any more.
        look_again_ms: from now, when something is due; what was waited for if nothing is.
        cursors: by queue, where its wakes stand.
    """

    deliveries: Sequence[Delivery] = ()
    vanished: Sequence[str] = ()
    look_again_ms: int = 0
    cursors: Mapping[str, str] = {}


def read_taken(queues: Sequence[str], reply: Any) -> Taken:
    """Read the reply of the script; one that has not looked says 0."""
    if not reply:
        return Taken()
    found, now_ms = reply[0], reply[1]
    if not found:
        cursors = dict(zip(queues, (at.decode() for at in reply[3:]), strict=False))
        return Taken(look_again_ms=max(0, reply[2] - now_ms), cursors=cursors)
    vanished = reply[2].decode(errors="replace").split()
    return Taken(
        deliveries=[
            read_delivery(now_ms, reply[at + 1 : at + _PER_DELIVERY])
            for at in range(3, len(reply), _PER_DELIVERY)
        ],
        vanished=vanished,
    )

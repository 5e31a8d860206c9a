"""`Broker.fetch` in words of SQL: what its reply means. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import Any, Final

from attrs import frozen

from stem_core.plugin import Delivery
from stem_postgres.rows import read_delivery

__all__ = ["Taken", "read_taken"]

_N, _NOW, _READY, _TICKET, _UNTIL, _ID, _, _, _RANK = range(9)
_IN_USE_MS: Final = 50
"""What is due and yet passed by is in somebody's transaction, and looked for again after this."""

_turn: Final = itemgetter(_N, _RANK, _READY, _TICKET)


@frozen(kw_only=True)
class Taken:
    """What one look brought.

    Attributes:
        deliveries: leased now, in the order of service.
        look_again_ms: from now, when something is due; what was waited for if nothing is.
    """

    deliveries: Sequence[Delivery] = ()
    look_again_ms: int = 0


def read_taken(rows: Sequence[Sequence[Any]]) -> Taken:
    """Read the reply of the function."""
    if rows[0][_ID] is None:
        left_ms = rows[0][_UNTIL] - rows[0][_NOW]
        return Taken(look_again_ms=left_ms if left_ms > 0 else _IN_USE_MS)
    return Taken(deliveries=[read_delivery(row) for row in sorted(rows, key=_turn)])

"""Housekeeping: what has had its time goes, a bounded piece in a step."""

from __future__ import annotations

from typing import Final

from stem_core import failpoints
from stem_core.embedded.sqlite.held import Held
from stem_core.embedded.sqlite.settling import end
from stem_core.embedded.sqlite.transaction import Writing

__all__ = ["sweep"]

_PIECE: Final = 1_000
_SIMPLE: Final = ("records", "progress", "windows", "starts", "holders", "heartbeats", "control")


def sweep(txn: Writing) -> bool:
    """Clear away a piece of what is over; say whether there may be more."""
    now_ms = txn.now_ms
    base = txn.one("sweep.base", now_ms, _PIECE)
    if base is not None and base[0] is not None:
        # An id that is forgotten may be born again, and must not meet an old fence.
        txn.raise_fence_base(base[0])
    counts = [txn.do("sweep.ended", now_ms, _PIECE), _bury_for_good(txn)]
    counts += [txn.do(f"sweep.{kind}", now_ms, _PIECE) for kind in _SIMPLE]
    txn.do("admin.probe", now_ms)
    if failpoints.ARMED:
        failpoints.reach("sqlite.sweep.before_commit")
    return max(counts) >= _PIECE


def _bury_for_good(txn: Writing) -> int:
    """Forget dead letters whose time is over, but for their ids."""
    rows = txn.all("sweep.dead", txn.now_ms, _PIECE)
    end(txn, [Held._make(row) for row in rows], "settle.drop")
    return len(rows)

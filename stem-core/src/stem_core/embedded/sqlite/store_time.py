"""Time in the store: what its clock says, and what the passing of it does to messages.

Instants in the file must mean the same to every process on the machine and after a restart
of it, and a lease must not end because somebody set the clock. So the store's time follows
the machine's monotonic clock, which all its processes share, and is tied to the wall clock
once for each start of the machine.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from operator import itemgetter
from pathlib import Path
from typing import Final

from attrs import frozen

from stem_core.contracts.clock import SYSTEM_CLOCK, Clock
from stem_core.embedded.sqlite.rows import DELAYED, LEASED, PARKED
from stem_core.embedded.sqlite.transaction import Reading, Writing

__all__ = ["BOOT", "StoreTime", "Tickets", "advance", "anchored", "boot_of", "next_due_ms"]

_AT_ONCE: Final = 2_000
"""How many due messages one step takes up: the next step takes the next."""


# ── the clock ────────────────────────────────────────────────────────────────


def boot_of(path: Path = Path("/proc/sys/kernel/random/boot_id")) -> str:
    """Return what names this start of the machine; empty where nothing does."""
    try:
        return path.read_text("ascii").strip()
    except (OSError, ValueError):
        return ""


BOOT: Final = boot_of()


@frozen
class StoreTime:
    """What the store's clock says: *clock* shifted by *offset_ms*, or else its wall time."""

    clock: Clock
    offset_ms: int | None = None

    def now_ms(self) -> int:
        """The store's now, in milliseconds since about the Unix epoch."""
        if self.offset_ms is None:
            return self.clock.wall_ms()
        return self.clock.monotonic_ms() + self.offset_ms

    def wall_ms(self) -> int:
        """The wall clock's now."""
        return self.clock.wall_ms()


class Tickets:
    """Numbers that only grow, in all processes together: turns among messages of one instant.

    They are read from the clock that processes of one machine share, and are taken while one
    holds the store's lock: a counter that nobody has to look up and nobody has to keep.

    Args:
        offset_ms: as that of the `StoreTime`.
    """

    def __init__(self, offset_ms: int | None = None) -> None:
        self._offset_ns: Final = None if offset_ms is None else offset_ms * 1_000_000
        self._last = 0

    def next(self) -> int:
        """Return the next one: nanoseconds, or one more than the last."""
        now_ns = (
            time.time_ns() if self._offset_ns is None else time.monotonic_ns() + self._offset_ns
        )
        self._last = max(self._last + 1, now_ns)
        return self._last


def anchored(txn: Writing, clock: Clock, boot: str) -> StoreTime:
    """Return the time of this store; the first who comes after a start of the machine ties it.

    Time never goes back behind what the store has seen: a machine that starts with a wrong
    clock would else keep the leases of the dead for years.
    """
    if not boot or clock is not SYSTEM_CLOCK:
        return StoreTime(clock)
    known = txn.one("meta.time")
    assert known is not None
    known_boot, offset_ms, seen_ms = known
    if known_boot != boot:
        offset_ms = max(clock.wall_ms(), seen_ms) - clock.monotonic_ms()
        txn.do("meta.set_time", boot, offset_ms)
    return StoreTime(clock, offset_ms)


# ── what the passing of time does ────────────────────────────────────────────


def next_due_ms(txn: Reading) -> int | None:
    """Return when the next message becomes ready or lapses; None when none will."""
    return min(
        (due_ms for due_ms in txn.all("fetch.next_due")[0] if due_ms is not None), default=None
    )


def advance(txn: Writing) -> None:
    """Promote what is due and make ready again what has lapsed; once in a step is enough."""
    if txn.has_advanced:
        return
    txn.has_advanced = True
    due = txn.one("fetch.next_due")
    assert due is not None
    places = [
        place
        for place, due_ms in zip((DELAYED, PARKED, LEASED), due, strict=True)
        if due_ms is not None and due_ms <= txn.now_ms
    ]
    if places:
        _bring_up(txn, places)


def _bring_up(txn: Writing, places: Sequence[int]) -> None:
    """Let what is due in *places* stand in line, in the order in which it became due."""
    rows = [
        (due_ms, place, seq, queue)
        for place in places
        for seq, queue, due_ms in txn.all("fetch.due", place, txn.now_ms, _AT_ONCE)
    ]
    rows.sort(key=itemgetter(0))  # those of one instant stay as they were published
    lapsed: list[tuple[int, int]] = []
    promoted: list[tuple[int, int]] = []
    for _, place, seq, _ in rows:
        (lapsed if place == LEASED else promoted).append((txn.ticket(), seq))
    txn.do_all("fetch.lapse", lapsed)
    txn.do_all("fetch.promote", promoted)
    txn.effects.ready.update(queue for _, _, _, queue in rows)
    if len(rows) >= _AT_ONCE:
        txn.effects.due(txn.now_ms)

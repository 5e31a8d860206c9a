"""What the memory store remembers of ended tasks: one record per id, and the last progress.

Rule of this module: plain and timeless. `now_ms` is an argument, in milliseconds
of the store's monotonic clock, and the caller holds the store's lock.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import nlargest
from typing import Final

from stem_core.contracts.backend import Progress, RecordFilter, RecordPage
from stem_core.embedded.memory.agenda import Agenda
from stem_core.embedded.sleepers import Sleepers
from stem_core.model.errors import Fault, StoreError
from stem_core.model.outcome import Record, State
from stem_core.model.value import replace

__all__ = ["MAX_VALUE", "Records", "objection_to"]

MAX_VALUE: Final = 64 * 1024 * 1024
_COARSE: Final = 8  # a quarter of a second


class Records:
    """Records and progress by id, each for as long as it asked."""

    def __init__(self, sleepers: Sleepers) -> None:
        self._sleepers = sleepers
        self._records: dict[str, tuple[Record, int]] = {}
        self._progress: dict[str, tuple[Progress, int]] = {}
        self._ends = Agenda(_COARSE)
        self._progress_ends = Agenda(_COARSE)

    def get(self, id: str, now_ms: int) -> Record | None:
        """Return the record of *id* while it lasts."""
        kept = self._records.get(id)
        return kept[0] if kept is not None and kept[1] > now_ms else None

    def offer(self, record: Record, now_ms: int) -> bool:
        """Keep *record* iff it replaces what is there; True also if it is there already."""
        id = record.id
        kept = self._records.get(id)
        if kept is not None:
            if (old := self.get(id, now_ms)) == record:
                return True
            if not record.replaces(old):
                return False
        self._keep(record, kept, now_ms)
        return True

    def put(self, record: Record, now_ms: int) -> None:
        """Keep *record*, whatever is there."""
        self._keep(record, self._records.get(record.id), now_ms)

    def _keep(self, record: Record, kept: tuple[Record, int] | None, now_ms: int) -> None:
        id, due_ms = record.id, now_ms + record.ttl_ms
        if kept is not None:
            self._ends.drop(id, kept[1])
        self._records[id] = (record, due_ms)
        self._ends.add(id, due_ms)
        if id in self._sleepers.for_results and record.state.is_terminal:
            self._sleepers.ended(id)

    # ── the verbs of the backend ─────────────────────────────────────────────

    def save(self, now_ms: int, records: Sequence[Record]) -> Sequence[bool]:
        """`ResultBackend.save`."""
        for record in records:
            if objection := objection_to(record, record.id):
                raise StoreError(f"record {record.id}: {objection}", fault=Fault.DATA)
        return [self.offer(record, now_ms) for record in records]

    def reopen(self, now_ms: int, replayed: Sequence[tuple[str, int]]) -> Sequence[bool]:
        """`ResultBackend.reopen`."""
        return [self._reopen(now_ms, id, fence) for id, fence in replayed]

    def _reopen(self, now_ms: int, id: str, fence: int) -> bool:
        old = self.get(id, now_ms)
        if old is not None and old.fence <= fence:
            # The one way out of a terminal state: this record replaces it by decree.
            self.put(
                replace(old, state=State.QUEUED, value=None, reason="", finished_at_ms=0), now_ms
            )
        return old is not None

    def load(self, now_ms: int, ids: Sequence[str]) -> Sequence[Record | None]:
        """`ResultBackend.load`."""
        return [self.get(id, now_ms) for id in ids]

    def list(
        self, now_ms: int, where: RecordFilter | None, limit: int, cursor: str | None
    ) -> RecordPage:
        """`ResultBackend.list`; the cursor is the last id of the page before."""
        found = nlargest(
            limit + 1,
            (
                record
                for record, due_ms in self._records.values()
                if due_ms > now_ms
                and (cursor is None or record.id < cursor)
                and (where is None or where.matches(record))
            ),
            key=lambda record: record.id,
        )
        page = tuple(found[:limit])
        return RecordPage(records=page, cursor=page[-1].id if page and len(found) > limit else None)

    def note_progress(self, now_ms: int, updates: Sequence[Progress]) -> None:
        """`ResultBackend.progress`."""
        for update in updates:
            if self._is_news(update, now_ms):
                kept = self._progress.get(update.id)
                if kept is not None:
                    self._progress_ends.drop(update.id, kept[1])
                due_ms = now_ms + update.ttl_ms
                self._progress[update.id] = (update, due_ms)
                self._progress_ends.add(update.id, due_ms)

    def _is_news(self, update: Progress, now_ms: int) -> bool:
        record = self.get(update.id, now_ms)
        if record is not None and record.state.is_terminal and update.fence <= record.fence:
            return False
        kept = self._progress.get(update.id)
        return kept is None or update.fence >= kept[0].fence

    def progress_of(self, now_ms: int, ids: Sequence[str]) -> Sequence[bytes | None]:
        """`ResultBackend.progress_of`."""
        kept = (self._progress.get(id) for id in ids)
        return [pair[0].value if pair and pair[1] > now_ms else None for pair in kept]

    def expire(self, now_ms: int, ids: Sequence[str], ttl_ms: int) -> Sequence[bool]:
        """`ResultBackend.expire`."""
        return [self._expire(id, ttl_ms, now_ms) for id in ids]

    def _expire(self, id: str, ttl_ms: int, now_ms: int) -> bool:
        if (kept := self._progress.get(id)) is not None:
            self._progress_ends.drop(id, kept[1])
            self._progress[id] = (kept[0], now_ms + ttl_ms)
            self._progress_ends.add(id, now_ms + ttl_ms)
        record = self.get(id, now_ms)
        if record is None:
            return False
        self._ends.drop(id, self._records[id][1])
        self._records[id] = (record, now_ms + ttl_ms)
        self._ends.add(id, now_ms + ttl_ms)
        return True

    def sweep(self, now_ms: int, budget: int) -> None:
        """Free the memory of what has expired, about *budget* of each kind."""
        for id in self._ends.due(now_ms, limit=budget):
            del self._records[id]
        for id in self._progress_ends.due(now_ms, limit=budget):
            del self._progress[id]


def objection_to(record: Record, id: str) -> str:
    """Say why *record* can never be kept as that of *id*; empty when it can."""
    if record.id != id:
        return f"the record is that of {record.id}"
    if record.value is not None and len(record.value) > MAX_VALUE:
        return f"the value has {len(record.value)} bytes, more than {MAX_VALUE}"
    return ""

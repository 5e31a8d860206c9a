"""What the memory store remembers of ended tasks: one record per id, and the last progress.

Rule of this module: plain and timeless. `now_ms` is an argument, in milliseconds
of the store's monotonic clock, and the caller holds the store's lock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import nlargest
from typing import Final

from stem_core.contracts.backend import Progress, RecordFilter, RecordPage
from stem_core.embedded.memory.agenda import Agenda
from stem_core.model.errors import Fault, StoreError
from stem_core.model.outcome import Record

__all__ = ["MAX_VALUE", "Records"]

MAX_VALUE: Final = 64 * 1024 * 1024
_GRAIN_MS: Final = 256


class Records:
    """Records and progress by id, each for as long as it asked.

    Attributes:
        on_terminal: called with the id when a terminal record is saved.
    """

    def __init__(self, on_terminal: Callable[[str], None]) -> None:
        self._on_terminal = on_terminal
        self._records: dict[str, tuple[Record, int]] = {}
        self._progress: dict[str, tuple[Progress, int]] = {}
        self._record_ends = Agenda(_GRAIN_MS)
        self._progress_ends = Agenda(_GRAIN_MS)

    def get(self, id: str, now_ms: int) -> Record | None:
        """Return the record of *id* while it lasts."""
        kept = self._records.get(id)
        return kept[0] if kept is not None and kept[1] > now_ms else None

    def objection(self, record: Record, *, of: str) -> str:
        """Say why *record* can never be kept as that of *of*; empty when it can."""
        if record.id != of:
            return f"the record is that of {record.id}"
        if record.value is not None and len(record.value) > MAX_VALUE:
            return f"the value has {len(record.value)} bytes, more than {MAX_VALUE}"
        return ""

    def accepts(self, record: Record, now_ms: int) -> bool:
        """Decide whether *record* may be saved, or is there already."""
        if record.id not in self._records:
            return True
        old = self.get(record.id, now_ms)
        return record.replaces(old) or record == old

    def put(self, record: Record, now_ms: int) -> None:
        """Keep *record*, which was accepted in this step."""
        kept = self._records.get(record.id)
        due_ms = now_ms + record.ttl_ms
        if kept is not None:
            if kept[0] == record and kept[1] > now_ms:
                return
            self._record_ends.drop(record.id, kept[1])
        self._records[record.id] = (record, due_ms)
        self._record_ends.add(record.id, due_ms)
        if record.state.is_terminal:
            self._on_terminal(record.id)

    # ── the verbs of the backend ─────────────────────────────────────────────

    def save(self, now_ms: int, records: Sequence[Record]) -> Sequence[bool]:
        """`ResultBackend.save`."""
        for record in records:
            if objection := self.objection(record, of=record.id):
                raise StoreError(f"record {record.id}: {objection}", fault=Fault.DATA)
        return [self._save(record, now_ms) for record in records]

    def _save(self, record: Record, now_ms: int) -> bool:
        accepted = self.accepts(record, now_ms)
        if accepted:
            self.put(record, now_ms)
        return accepted

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
        self._record_ends.drop(id, self._records[id][1])
        self._records[id] = (record, now_ms + ttl_ms)
        self._record_ends.add(id, now_ms + ttl_ms)
        return True

    def sweep(self, now_ms: int, budget: int) -> None:
        """Free the memory of what has expired, about *budget* of each kind."""
        for id in self._record_ends.due(now_ms, limit=budget):
            del self._records[id]
        for id in self._progress_ends.due(now_ms, limit=budget):
            del self._progress[id]

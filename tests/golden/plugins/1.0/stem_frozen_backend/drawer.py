"""What is kept for one id, and what may change it: no file, no clock, no await.

Rule of this module: writers may be late, doubled or dead, so the fence decides, never the
order of arrival. *now* is an instant in milliseconds of the wall clock.
"""

from __future__ import annotations

import msgspec
import stem_core.plugin as stem


class Drawer(msgspec.Struct):
    """The record and the last progress of one task, each for as long as it asked."""

    id: str
    packed: bytes = b""
    record_until_ms: int = 0
    progress: bytes = b""
    progress_fence: int = 0
    progress_until_ms: int = 0

    def is_empty(self, now: int) -> bool:
        """Decide whether everything in it has had its time."""
        return max(self.record_until_ms, self.progress_until_ms) <= now

    def record(self, now: int) -> stem.Record | None:
        """Return the record while it lasts."""
        return stem.decode_record(self.packed) if self.record_until_ms > now else None

    def progress_now(self, now: int) -> bytes | None:
        """Return the last progress while it lasts."""
        return self.progress if self.progress_until_ms > now else None

    def offer(self, record: stem.Record, now: int) -> bool:
        """Keep *record* iff it may replace what is here; True too if it is here already."""
        old = self.record(now)
        if old == record:
            return True  # a lost reply was sent again
        if not record.replaces(old):
            return False
        self._keep(record, now)
        return True

    def reopen(self, fence: int, now: int) -> bool:
        """Let the record of a replayed task go back to queued; say whether there is one."""
        old = self.record(now)
        if old is not None and old.fence <= fence:
            queued = stem.State.QUEUED
            self._keep(
                stem.replace(old, state=queued, value=None, reason="", finished_at_ms=0), now
            )
        return old is not None

    def note(self, update: stem.Progress, now: int) -> None:
        """Keep the progress of a running task, unless something newer is known."""
        record = self.record(now)
        if record is not None and record.state.is_terminal and update.fence <= record.fence:
            return
        if self.progress_until_ms > now and update.fence < self.progress_fence:
            return
        self.progress, self.progress_fence = update.value, update.fence
        self.progress_until_ms = now + update.ttl_ms

    def expire(self, ttl_ms: int, now: int) -> bool:
        """Let it live *ttl_ms* from now; say whether there was a record."""
        had_record = self.record_until_ms > now
        if had_record:
            self.record_until_ms = now + ttl_ms
        if self.progress_until_ms > now:
            self.progress_until_ms = now + ttl_ms
        return had_record

    def _keep(self, record: stem.Record, now: int) -> None:
        self.packed, self.record_until_ms = stem.encode_record(record), now + record.ttl_ms

"""The rules of a result backend: which record stays, and for how long.

Rule of this module: as in `ledger`, no network, no clock, no await.
"""

from __future__ import annotations

import stem_core.plugin as stem
from nats_broker.draft import Draft
from nats_broker.values import Kept, Note, from_stamp
from stem_core.plugin import replace


def offer(draft: Draft, record: stem.Record) -> bool:
    """Keep *record* iff it replaces what is there; True also if it is there already.

    Raises:
        TooLarge: the server cannot hold it.
        StemError: it cannot be written at all.
    """
    old = draft.record(record.id)
    if old == record:
        draft.doubt()
        return True
    if not record.replaces(old):
        draft.doubt()
        return False
    _keep(draft, record)
    return True


def _keep(draft: Draft, record: stem.Record) -> None:
    draft.put(Kept(record.id, stem.encode_record(record), from_stamp(record.ttl_ms)))


def reopen(draft: Draft, id: str, fence: int) -> bool:
    """Let a record go back to queued, unless a newer fence wrote it; say whether there is one."""
    old = draft.record(id)
    if old is None:
        draft.doubt()
        return False
    if old.fence <= fence:
        anew = replace(old, state=stem.State.QUEUED, value=None, reason="", finished_at_ms=0)
        _keep(draft, anew)
    else:
        draft.doubt()
    return True


def note_progress(draft: Draft, update: stem.Progress) -> None:
    """Keep *update*, unless the task has ended or a newer fence has spoken."""
    record, old = draft.record(update.id), draft.note(update.id)
    is_over = record is not None and record.state.is_terminal and update.fence <= record.fence
    if is_over or (old is not None and update.fence < old.fence):
        draft.doubt()
    else:
        draft.put(Note(update.id, update.fence, update.value, from_stamp(update.ttl_ms)))


def expire(draft: Draft, id: str, ttl_ms: int) -> bool:
    """Let a record and its progress live *ttl_ms* from now; say whether there is a record."""
    record, note = draft.record(id), draft.note(id)
    due_ms = from_stamp(max(0, ttl_ms))
    if note is not None:
        draft.put(replace(note, due_ms=due_ms))
    if record is None:
        draft.doubt()
        return False
    draft.put(Kept(id, stem.encode_record(record), due_ms))
    return True

"""What the store remembers of ended tasks: one record per id, and the last progress."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from stem_core.contracts.backend import Progress, RecordFilter, RecordPage
from stem_core.embedded.sqlite.transaction import Reading, Row, Writing
from stem_core.model.codec import decode_record, encode_record
from stem_core.model.errors import EnqueueError, Fault, ResultCorrupt, StoreError
from stem_core.model.outcome import Record, State
from stem_core.model.value import replace

__all__ = [
    "MAX_VALUE",
    "Written",
    "ended_among",
    "expire",
    "list_records",
    "load",
    "note_progress",
    "objection_to",
    "offer",
    "progress_of",
    "put",
    "refused_among",
    "reopen",
    "save",
    "write",
]

MAX_VALUE: Final = 64 * 1024 * 1024
_PAGE: Final = 200
_log: Final = logging.getLogger("stem.sqlite")


class Written(NamedTuple):
    """A record, whose it is, and the bytes that are kept of it."""

    id: str
    record: Record
    text: bytes


def objection_to(record: Record, id: str) -> str:
    """Say why *record* can never be kept as that of *id*; empty when it can."""
    if record.id != id:
        return f"the record is that of {record.id}"
    if record.value is not None and len(record.value) > MAX_VALUE:
        return f"the value has {len(record.value)} bytes, more than {MAX_VALUE}"
    return ""


def write(record: Record, id: str) -> tuple[Written | None, str]:
    """Return *record* as it is kept for *id*, or else why it cannot be kept."""
    if objection := objection_to(record, id):
        return None, objection
    try:
        return Written(id, record, encode_record(record)), ""
    except (EnqueueError, ResultCorrupt) as error:
        return None, str(error)


# ── keeping ──────────────────────────────────────────────────────────────────


def offer(txn: Writing, offered: Sequence[Written]) -> Mapping[str, bool]:
    """Keep each record iff it replaces what is there; say by id which are kept, or were before.

    The ids are all different.
    """
    if not offered:
        return {}
    old = _load(txn, [each.id for each in offered])
    if not old:
        put(txn, offered)
        return dict.fromkeys([each.id for each in offered], True)
    verdicts = {each.id: _may_stay(each.record, old.get(each.id)) for each in offered}
    put(txn, [each for each in offered if verdicts[each.id] and old.get(each.id) != each.record])
    return verdicts


def refused_among(txn: Reading, offered: Sequence[Written]) -> frozenset[str]:
    """Return the ids whose records `offer` would not keep."""
    old = _load(txn, [each.id for each in offered]) if offered else {}
    return frozenset(
        each.id for each in offered if old and not _may_stay(each.record, old.get(each.id))
    )


def _may_stay(record: Record, old: Record | None) -> bool:
    return record.replaces(old) or record == old


def put(txn: Writing, kept: Sequence[Written]) -> None:
    """Keep records, whatever is there."""
    txn.insert("records.save", [_row(each, txn.now_ms) for each in kept])
    txn.effects.ended += [each.id for each in kept if each.record.state.is_terminal]


def _row(written: Written, now_ms: int) -> tuple[str, str, int, str, str, int, bytes]:
    record = written.record
    return (
        record.id, record.state.value, record.fence, record.task, record.queue,
        now_ms + record.ttl_ms, written.text,
    )  # fmt: skip


def save(txn: Writing, records: Sequence[Written]) -> Sequence[bool]:
    """`ResultBackend.save`. One id may come twice: the later sees the earlier."""
    if len({each.id for each in records}) == len(records):
        verdicts = offer(txn, records)
        return [verdicts[each.id] for each in records]
    return [offer(txn, [each])[each.id] for each in records]


def reopen(txn: Writing, replayed: Sequence[tuple[str, int]]) -> Sequence[bool]:
    """`ResultBackend.reopen`."""
    old = _load(txn, [id for id, _ in replayed])
    for id, fence in replayed:
        record = old.get(id)
        if record is not None and record.fence <= fence:
            # The one way out of a terminal state: this record replaces it by decree.
            again = replace(record, state=State.QUEUED, value=None, reason="", finished_at_ms=0)
            put(txn, [Written(id, again, encode_record(again))])
    return [id in old for id, _ in replayed]


def expire(txn: Writing, ids: Sequence[str], ttl_ms: int) -> Sequence[bool]:
    """`ResultBackend.expire`."""
    due_ms = txn.now_ms + ttl_ms
    for id in ids:
        txn.do("records.expire_progress", due_ms, id)
    return [bool(txn.do("records.expire", due_ms, id, txn.now_ms)) for id in ids]


# ── reading ──────────────────────────────────────────────────────────────────


def _load(txn: Reading, ids: Sequence[str]) -> dict[str, Record]:
    rows = txn.among("records.load", ids)
    return {id: _read(text) for id, due_ms, text in rows if due_ms > txn.now_ms}


def _read(text: bytes | str) -> Record:
    try:
        return decode_record(text.encode() if isinstance(text, str) else text)
    except ResultCorrupt as error:
        raise StoreError(f"a stored record cannot be read: {error}", fault=Fault.DATA) from error


def load(txn: Reading, ids: Sequence[str]) -> Sequence[Record | None]:
    """`ResultBackend.load`."""
    found = _load(txn, ids)
    return [found.get(id) for id in ids]


def ended_among(txn: Reading, ids: Sequence[str]) -> Sequence[str]:
    """Return those of *ids* that have a terminal record."""
    return [id for (id,) in txn.among("records.ended", ids, txn.now_ms)]


def list_records(
    txn: Reading, where: RecordFilter | None, limit: int, cursor: str | None
) -> RecordPage:
    """`ResultBackend.list`; the cursor is the last id of the page before."""
    where = where or RecordFilter()
    found: list[Record] = []
    while len(found) <= limit:
        rows = _page(txn, where, cursor)
        found += [record for record in map(_legible, rows) if record and where.matches(record)]
        if len(rows) < _PAGE:
            break
        cursor = rows[-1][0]
    page = tuple(found[:limit])
    return RecordPage(records=page, cursor=page[-1].id if page and len(found) > limit else None)


def _page(txn: Reading, where: RecordFilter, cursor: str | None) -> list[Row]:
    wishes = (
        cursor,
        _any_of(state.value for state in where.states),
        _any_of(where.tasks),
        _any_of(where.queues),
    )
    twice = [value for wish in wishes for value in (wish, wish)]
    return txn.all("records.list", txn.now_ms, *twice, _PAGE)


def _legible(row: Row) -> Record | None:
    """Return the record of a listed row; one that cannot be read hides none of the others."""
    try:
        return _read(row[2])
    except StoreError as error:
        _log.warning("the record of %s is left out: %s", row[0], error)
        return None


def _any_of(names: Iterable[str]) -> str | None:
    listed = sorted(names)
    return json.dumps(listed) if listed else None


# ── progress ─────────────────────────────────────────────────────────────────


def note_progress(txn: Writing, updates: Sequence[Progress]) -> None:
    """`ResultBackend.progress`."""
    for update in updates:
        if _is_news(txn, update):
            due_ms = txn.now_ms + update.ttl_ms
            txn.do("records.note_progress", update.id, update.fence, due_ms, update.value)


def _is_news(txn: Writing, update: Progress) -> bool:
    record = _load(txn, [update.id]).get(update.id)
    if record is not None and record.state.is_terminal and update.fence <= record.fence:
        return False
    kept = txn.among("records.progress", [update.id])
    return not kept or update.fence >= kept[0][1]


def progress_of(txn: Reading, ids: Sequence[str]) -> Sequence[bytes | None]:
    """`ResultBackend.progress_of`."""
    rows = txn.among("records.progress", ids)
    kept = {id: value for id, _, due_ms, value in rows if due_ms > txn.now_ms}
    return [kept.get(id) for id in ids]

"""The steps of callers and operators: cancel, look up, list, replay, discard, purge, pause."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from stem_core import failpoints
from stem_core.contracts.admin import LocatedPage, QueueStats, Replayed, ReplayStatus
from stem_core.contracts.messages import (
    Cancellation,
    Cancelled,
    CancelStatus,
    Located,
    Message,
    Place,
)
from stem_core.embedded.sqlite.held import Held, held_rows
from stem_core.embedded.sqlite.records import offer, reopen, write
from stem_core.embedded.sqlite.rows import DEAD, ENDED, LEASED, PLACES, is_text, locate
from stem_core.embedded.sqlite.settling import end
from stem_core.embedded.sqlite.taking import body_in, errors_of
from stem_core.embedded.sqlite.transaction import Reading, Row, Writing
from stem_core.model.outcome import Record, State
from stem_core.model.value import replace

__all__ = [
    "cancel",
    "dead_letters",
    "discard",
    "lookup",
    "pause",
    "peek",
    "purge",
    "replay",
    "resume",
    "stats",
]

_FINISHED: Final = Cancelled(CancelStatus.FINISHED)
_UNKNOWN: Final = Cancelled(CancelStatus.UNKNOWN)
_REQUESTED: Final = Cancelled(CancelStatus.REQUESTED)


# ── looking ──────────────────────────────────────────────────────────────────


def lookup(txn: Reading, ids: Sequence[str]) -> Sequence[Located | None]:
    """`Broker.lookup`."""
    rows = txn.among("lookup.located", [id for id in ids if is_text(id)], txn.now_ms)
    found = {row[0]: _located(txn, row) for row in rows}
    return [found.get(id) for id in ids]


def _located(txn: Reading, row: Row) -> Located:
    seq, body, count = row[1], row[8], row[20]
    return locate(
        row,
        body_in(txn, seq, body),
        errors_of(txn, seq) if count else (),
        now_ms=txn.now_ms,
        wall_ms=txn.wall_ms,
    )


def peek(txn: Reading, queue: str, limit: int, cursor: str | None) -> LocatedPage:
    """`BrokerAdmin.peek`; the cursor is the last id of the page before."""
    rows = txn.all("lookup.peek", queue, cursor or "", limit + 1)
    last = rows[limit - 1][0] if limit and len(rows) > limit else None
    return LocatedPage(items=tuple(_located(txn, row) for row in rows[:limit]), cursor=last)


def dead_letters(txn: Reading, queue: str | None, limit: int, cursor: str | None) -> LocatedPage:
    """`BrokerAdmin.dead_letters`; the cursor is the number of the last death of the page before."""
    below = (1 << 63) - 1 if cursor is None else int(cursor)
    rows = txn.all("lookup.dead", txn.now_ms, queue, queue, below, limit + 1)
    last = str(rows[limit - 1][21]) if limit and len(rows) > limit else None
    return LocatedPage(items=tuple(_located(txn, row) for row in rows[:limit]), cursor=last)


def stats(txn: Reading, queues: Sequence[str]) -> Sequence[QueueStats]:
    """`BrokerAdmin.stats`."""
    counts: dict[str, dict[Place, int]] = {}
    for name, place, count in (
        *txn.all("admin.takeable"),
        *txn.all("admin.timed", txn.now_ms),
    ):
        of_queue = counts.setdefault(name, {})
        of_queue[PLACES[place]] = of_queue.get(PLACES[place], 0) + count
    paused = {name for (name,) in txn.all("fetch.paused")}
    names = sorted(set(queues) or (counts.keys() | paused))
    return [_stats_of(txn, name, counts.get(name, {}), name in paused) for name in names]


def _stats_of(txn: Reading, queue: str, counts: dict[Place, int], paused: bool) -> QueueStats:
    firsts = [txn.one("admin.first_of", queue, rank) for rank in range(10)] if counts else []
    oldest_ms = min((row[0] for row in firsts if row is not None), default=txn.now_ms)
    return QueueStats(
        queue=queue,
        ready=counts.get(Place.READY, 0),
        delayed=counts.get(Place.DELAYED, 0),
        parked=counts.get(Place.PARKED, 0),
        leased=counts.get(Place.LEASED, 0),
        dead=counts.get(Place.DEAD, 0),
        oldest_ms=max(0, txn.now_ms - oldest_ms),
        paused=paused,
    )


# ── cancelling ───────────────────────────────────────────────────────────────


def cancel(txn: Writing, cancellations: Sequence[Cancellation]) -> Sequence[Cancelled]:
    """`Broker.cancel`."""
    replies = [_cancel(txn, each) for each in cancellations]
    if failpoints.ARMED:
        failpoints.reach("sqlite.cancel.before_commit")
    return replies


def _cancel(txn: Writing, wish: Cancellation) -> Cancelled:
    held = held_rows(txn, [wish.id]).get(wish.id) if is_text(wish.id) else None
    if held is None or not held.is_known(txn.now_ms):
        return _UNKNOWN
    if held.place in (DEAD, ENDED):
        return _FINISHED
    if held.place == LEASED:
        txn.do("settle.request_cancel", wish.reason, held.seq)
        return _REQUESTED
    return _end_waiting(txn, held, wish.record)


def _end_waiting(txn: Writing, held: Held, record: Record | None) -> Cancelled:
    """End a message that waits, with *record* under its own fence."""
    (located,) = lookup(txn, [held.id])
    message = located.message if located is not None else None
    end(txn, [held], "settle.drop")
    if record is not None:
        own, _ = write(replace(record, id=held.id, fence=held.fence), held.id)
        offer(txn, [own] if own is not None else [])
    return Cancelled(CancelStatus.CANCELLED, message, held.fence)


def purge(txn: Writing, queue: str, limit: int) -> Sequence[Cancelled]:
    """`BrokerAdmin.purge`."""
    rows = txn.all("admin.waiting_ready", queue, limit)
    if len(rows) < limit:
        rows += txn.all("admin.waiting_later", queue, limit - len(rows))
    doomed = held_rows(txn, [row[0] for row in rows])
    return [
        _end_waiting(txn, doomed[id], _purged(id, task, queue, failed, txn.wall_ms))
        for id, _, task, failed, _ in rows
    ]


def _purged(id: str, task: str, queue: str, failed: int, wall_ms: int) -> Record:
    return Record(
        id=id,
        state=State.CANCELLED,
        attempt=failed,
        task=task,
        queue=queue,
        reason="purged",
        finished_at_ms=wall_ms,
    )


# ── dead letters ─────────────────────────────────────────────────────────────


def replay(txn: Writing, ids: Sequence[str]) -> Sequence[Replayed]:
    """`BrokerAdmin.replay`."""
    return [_replay(txn, id) for id in ids]


def _replay(txn: Writing, id: str) -> Replayed:
    held = held_rows(txn, [id]).get(id)
    if held is None or held.is_forgotten(txn.now_ms):
        return Replayed(ReplayStatus.UNKNOWN)
    if held.place != DEAD:
        return Replayed(ReplayStatus.ALREADY)
    (located,) = lookup(txn, [id])
    if located is not None and not _takes_its_key(txn, located.message):
        return Replayed(ReplayStatus.UNIQUE)
    txn.do("admin.revive", txn.now_ms, txn.ticket(), held.seq)
    txn.effects.ready.add(held.queue)
    reopen(txn, [(id, held.fence)])
    return Replayed(ReplayStatus.DONE, held.fence)


def _takes_its_key(txn: Writing, message: Message) -> bool:
    """Claim the unique key of *message* again; False when another one holds it."""
    unique = message.unique
    if unique is None:
        return True
    holder = txn.one("publish.holder", unique.key, txn.now_ms)
    if holder is not None and holder[0] != message.id:
        return False
    if unique.until != "window":
        txn.do("publish.claim", unique.key, message.id, None)
    return True


def discard(txn: Writing, ids: Sequence[str]) -> Sequence[Replayed]:
    """`BrokerAdmin.discard`."""
    return [_discard(txn, id) for id in ids]


def _discard(txn: Writing, id: str) -> Replayed:
    held = held_rows(txn, [id]).get(id)
    if held is None or held.is_forgotten(txn.now_ms):
        return Replayed(ReplayStatus.UNKNOWN)
    if held.place != DEAD:
        return Replayed(ReplayStatus.ALREADY)
    end(txn, [held], "settle.drop")
    return Replayed(ReplayStatus.DONE, held.fence)


# ── holding a queue ──────────────────────────────────────────────────────────


def pause(txn: Writing, queue: str) -> None:
    """`BrokerAdmin.pause`."""
    txn.do("admin.pause", queue)


def resume(txn: Writing, queue: str) -> None:
    """`BrokerAdmin.resume`."""
    txn.do("admin.resume", queue)
    txn.effects.ready.add(queue)

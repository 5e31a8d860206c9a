"""The step that leases: `Broker.fetch`, and handing back what nobody received."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from stem_core import failpoints
from stem_core.contracts.messages import Delivery
from stem_core.embedded.sqlite.rows import delivery_of, read_error
from stem_core.embedded.sqlite.store_time import advance, next_due_ms
from stem_core.embedded.sqlite.transaction import Reading, Row, Writing
from stem_core.model.outcome import TaskError

__all__ = ["Taken", "body_in", "errors_of", "glance", "hand_back", "nothing", "take"]

_BODY, _ERRORS, _KEY, _UNTIL, _PLACE = 8, 15, 16, 17, 18


@frozen
class Taken:
    """What one step has leased.

    Attributes:
        deliveries: for the worker.
        seats: fence and former place of each, and its unique key if this
            lease has freed it: to undo it.
        next_due_ms: with nothing taken, when something may be ready by itself.
    """

    deliveries: Sequence[Delivery] = ()
    seats: Sequence[tuple[int, int, str | None]] = ()
    next_due_ms: int | None = None


def glance(txn: Reading, queues: Sequence[str], limit: int, worker: str) -> Taken | None:
    """Return that there is nothing to take; None if there is, or time must move something."""
    due_ms = next_due_ms(txn)
    if due_ms is not None and due_ms <= txn.now_ms:
        return None
    if txn.among("look.ready", queues):
        return None
    return Taken(next_due_ms=due_ms)


def take(txn: Writing, queues: Sequence[str], limit: int, worker: str) -> Taken:
    """Lease what `Broker.fetch` would return at once."""
    advance(txn)
    paused = {queue for (queue,) in txn.all("fetch.paused")}
    rows: list[Row] = []
    for queue in dict.fromkeys(queues):  # one that is named twice is asked once
        if queue not in paused:
            rows += txn.all("fetch.ready", queue, limit - len(rows))
            if len(rows) >= limit:
                break
    if not rows:
        return Taken(next_due_ms=next_due_ms(txn))
    return _lease(txn, rows, worker)


def _lease(txn: Writing, rows: Sequence[Row], worker: str) -> Taken:
    now_ms = txn.now_ms
    deliveries, seats = [], []
    for row in rows:
        seq, id, fence = row[0], row[1], row[9]
        errors = errors_of(txn, seq) if row[_ERRORS] else ()
        delivery = delivery_of(row, body_in(txn, seq, row[_BODY]), errors, now_ms)
        deliveries.append(delivery)
        key = row[_KEY] if row[_UNTIL] == "started" else None
        if key is not None and not txn.do("fetch.let_go", key, id):
            key = None  # an earlier lease had freed it
        seats.append((fence + 1, row[_PLACE], key))
        txn.effects.due(now_ms + delivery.lease_ms)
    txn.do_for("fetch.lease", [row[0] for row in rows], now_ms, worker)
    if failpoints.ARMED:
        failpoints.reach("sqlite.claim.before_commit")
    return Taken(deliveries, seats)


def hand_back(txn: Writing, taken: Taken) -> None:
    """Undo the leases of *taken*, which nobody has received: only the fences tell of them."""
    for delivery, (fence, place, key) in zip(taken.deliveries, taken.seats, strict=True):
        if not txn.do("fetch.undo", place, delivery.message.id, fence):
            continue
        if key is not None:
            txn.do("fetch.claim_again", key, delivery.message.id)
        txn.effects.ready.add(delivery.message.queue)


def nothing(txn: Writing) -> None:
    """Do nothing, in its turn."""


def body_in(txn: Reading, seq: int, body: bytes | None) -> bytes:
    """Return the body in its row, or else where large ones lie."""
    if body is not None:
        return body
    row = txn.one("fetch.body", seq)
    return row[0] if row is not None else b""


def errors_of(txn: Reading, seq: int) -> tuple[TaskError, ...]:
    """Return the failures that are kept of one message, oldest first."""
    return tuple(read_error(text) for (text,) in txn.all("fetch.errors", seq))

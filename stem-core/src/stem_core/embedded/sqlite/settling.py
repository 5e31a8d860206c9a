"""The steps that end or renew deliveries: `Broker.settle` and `Broker.extend`.

A batch of settlements whose ids are all different is decided together and written with few
statements. One with follow-ups, or one whose id the batch names before, takes its own turn,
so that it sees what happened before it. Most settlements acknowledge and nothing else: those
are tried by one statement, and what it leaves is decided like the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from stem_core import failpoints
from stem_core.contracts.messages import (
    ACK,
    Ack,
    DeadLetter,
    Extended,
    ExtendStatus,
    Extension,
    PublishStatus,
    Receipt,
    Release,
    ReleaseWhy,
    RetryLater,
    Settled,
    Settlement,
    SettleStatus,
)
from stem_core.embedded.sqlite.held import Held, held_rows, refusal
from stem_core.embedded.sqlite.publishing import Admission, delay_of, objection_to
from stem_core.embedded.sqlite.records import Written, offer, put, refused_among
from stem_core.embedded.sqlite.rows import (
    DELAYED,
    MAX_ERRORS,
    PARKED,
    READY,
    error_text,
)
from stem_core.embedded.sqlite.transaction import Row, Writing
from stem_core.model.outcome import TaskError

__all__ = ["Order", "extend", "settle"]

Order = tuple[Settlement, Written | None, str]
"""A settlement, its record as it is written, and why it can never be kept (or nothing)."""

_DONE: Final = Settled(SettleStatus.DONE)
_STALE: Final = Settled(SettleStatus.STALE)
_LOST: Final = Extended(ExtendStatus.LOST)


# ── extend ───────────────────────────────────────────────────────────────────


def extend(txn: Writing, extensions: Sequence[Extension]) -> Sequence[Extended]:
    """`Broker.extend`."""
    rows = held_rows(txn, [each.receipt.id for each in extensions])
    changes: list[tuple[int, int]] = []
    replies = [_extend(txn, each, rows.get(each.receipt.id), changes) for each in extensions]
    txn.do_all("settle.extend", changes)
    if failpoints.ARMED:
        failpoints.reach("sqlite.extend.before_commit")
    return replies


def _extend(
    txn: Writing, extension: Extension, held: Held | None, changes: list[tuple[int, int]]
) -> Extended:
    if held is None or not held.is_mine(extension.receipt):
        return _LOST
    lease_ms = max(0, extension.lease_ms)
    due_ms = txn.now_ms + lease_ms
    changes.append((due_ms, held.seq))
    txn.effects.due(due_ms)
    if held.cancel_reason is not None:
        return Extended(ExtendStatus.CANCEL_REQUESTED, lease_ms, held.cancel_reason)
    return Extended(ExtendStatus.HELD, lease_ms)


# ── settle ───────────────────────────────────────────────────────────────────


def settle(txn: Writing, orders: Sequence[Order]) -> Sequence[Settled]:
    """`Broker.settle`."""
    replies: list[Settled] = []
    for turn in _turns(orders):
        acknowledged = _acknowledge(txn, turn)
        rest = [order for order in turn if order[0].receipt.id not in acknowledged]
        others = iter(_Turn(txn, rest).settle() if rest else ())
        replies += [
            _DONE if order[0].receipt.id in acknowledged else next(others) for order in turn
        ]
    if failpoints.ARMED:
        failpoints.reach("sqlite.settle.before_commit")
    return replies


def _acknowledge(txn: Writing, turn: Sequence[Order]) -> frozenset[str]:
    """Do the plain acknowledgements among *turn* whose leases hold; return their ids."""
    plain = [order for order in turn if _is_plain(order)]
    refused = refused_among(txn, [written for _, written, _ in plain if written is not None])
    mine = {
        settlement.receipt.id: written
        for settlement, written, _ in plain
        if settlement.receipt.id not in refused
    }
    receipts = [(each[0].receipt.id, each[0].receipt.fence) for each in plain]
    rows = txn.change("settle.acknowledge", [r for r in receipts if r[0] in mine], txn.now_ms)
    ended = frozenset(row[0] for row in rows)
    put(txn, [written for id in ended if (written := mine[id]) is not None])
    _clean_up(txn, rows)
    return ended


def _is_plain(order: Order) -> bool:
    settlement, _, objection = order
    return settlement.outcome is ACK and not settlement.follow_ups and not objection


def _clean_up(txn: Writing, rows: Sequence[Row]) -> None:
    """Remove what lies beside messages that have ended; *rows*: id, seq, unique key, errors."""
    txn.do_for("settle.drop_bodies", [row[1] for row in rows])
    txn.do_for("settle.drop_errors", [row[1] for row in rows if row[3]])
    for id, _, key, _ in rows:
        if key is not None:
            txn.do("fetch.let_go", key, id)


def _turns(orders: Sequence[Order]) -> Iterator[Sequence[Order]]:
    """Cut *orders* where one must see what those before it have done."""
    turn: list[Order] = []
    ids: set[str] = set()
    for order in orders:
        settlement = order[0]
        if settlement.follow_ups or settlement.receipt.id in ids:
            if turn:
                yield turn
            turn, ids = [], set()
        turn.append(order)
        ids.add(settlement.receipt.id)
        if settlement.follow_ups:
            yield turn
            turn, ids = [], set()
    if turn:
        yield turn


class _Turn:
    """Settlements of different ids: each is checked, then all are written together."""

    def __init__(self, txn: Writing, orders: Sequence[Order]) -> None:
        self._txn: Final = txn
        self._orders: Final = orders
        self._rows: Final[Mapping[str, Held]] = held_rows(
            txn, [settlement.receipt.id for settlement, _, _ in orders]
        )
        self._ended: Final[list[Held]] = []
        self._back: Final[list[tuple[int | str | None, ...]]] = []

    def settle(self) -> list[Settled]:
        """Settle all; replies by position."""
        # Which records may be saved is asked first, for all of them at once.
        records = [
            written
            for settlement, written, objection in self._orders
            if written is not None and not objection and self._mine(settlement.receipt) is not None
        ]
        kept = offer(self._txn, [] if self._has_follow_ups else records)
        replies = [self._settle(*order, kept) for order in self._orders]
        self._write()
        return replies

    @property
    def _has_follow_ups(self) -> bool:
        return len(self._orders) == 1 and bool(self._orders[0][0].follow_ups)

    def _mine(self, receipt: Receipt) -> Held | None:
        held = self._rows.get(receipt.id)
        return held if held is not None and held.is_mine(receipt) else None

    def _settle(
        self,
        settlement: Settlement,
        written: Written | None,
        objection: str,
        kept: Mapping[str, bool],
    ) -> Settled:
        held = self._mine(settlement.receipt)
        if held is None:
            return refusal(
                self._rows.get(settlement.receipt.id), settlement.receipt, self._txn.now_ms
            )
        if objection:
            return Settled(SettleStatus.INVALID, objection)
        if settlement.follow_ups:
            return self._settle_with_follow_ups(settlement, written, held)
        if written is not None and not kept[written.id]:
            return _STALE
        self._conclude(held, settlement)
        return _DONE

    def _settle_with_follow_ups(
        self, settlement: Settlement, written: Written | None, held: Held
    ) -> Settled:
        admission = Admission(self._txn, settlement.follow_ups)
        if objection := _objection_to(settlement, admission, self._txn.wall_ms):
            return Settled(SettleStatus.INVALID, objection)
        if written is not None and not offer(self._txn, [written])[written.id]:
            return _STALE
        self._conclude(held, settlement)
        self._write()  # what it frees is free for them
        for message in settlement.follow_ups:
            admission.admit(message)
        admission.write()
        return _DONE

    # ── outcomes ─────────────────────────────────────────────────────────────

    def _conclude(self, held: Held, settlement: Settlement) -> None:
        match settlement.outcome:
            case Ack():
                self._ended.append(held)
            case RetryLater(after_ms, error):
                self._retry(held, after_ms, error)
            case Release(after_ms, why):
                self._release(held, after_ms, why)
            case DeadLetter() as outcome:
                self._bury(held, outcome)

    def _retry(self, held: Held, after_ms: int, error: TaskError | None) -> None:
        errors = self._note(held, error)
        ticket = self._txn.ticket()
        place, due_ms = self._when(held, DELAYED, READY, after_ms)
        self._back.append(
            (place, due_ms, self._txn.now_ms, ticket, held.failed + 1, errors, 0, None, held.seq)
        )

    def _release(self, held: Held, after_ms: int, why: ReleaseWhy) -> None:
        is_parked = why is ReleaseWhy.PARKED
        if is_parked:
            place, due_ms = self._when(held, PARKED, PARKED, after_ms)
        else:
            place, due_ms = self._when(held, DELAYED, READY, after_ms)
        # At once means at its old turn: before all that is younger.
        turn = (None, None) if due_ms is None else (due_ms, self._txn.ticket())
        parked_ms = held.first_parked_ms
        if why is ReleaseWhy.SNOOZE:  # it ran: whoever parks it next starts anew
            parked_ms = None
        elif is_parked and parked_ms is None:
            parked_ms = self._txn.now_ms
        self._back.append((place, due_ms, *turn, held.failed, held.errors, 1, parked_ms, held.seq))

    def _when(self, held: Held, later: int, now: int, after_ms: int) -> tuple[int, int | None]:
        """Return the place where *held* goes and when it is due there."""
        if after_ms > 0:
            self._txn.effects.due(self._txn.now_ms + after_ms)
            return later, self._txn.now_ms + after_ms
        self._txn.effects.ready.add(held.queue)
        return now, None

    def _bury(self, held: Held, outcome: DeadLetter) -> None:
        errors, failed = held.errors, held.failed
        if outcome.error is not None:
            # The attempt that an error names has failed; poison and the like name none.
            failed = max(failed, outcome.error.attempt)
            errors = self._note(held, outcome.error)
        if held.unique_key is not None:
            self._txn.do("fetch.let_go", held.unique_key, held.id)
        self._txn.do(
            "settle.bury",
            self._txn.now_ms + outcome.keep_ms,
            self._txn.ticket(),
            failed,
            errors,
            outcome.reason.value,
            self._txn.wall_ms,
            held.seq,
        )

    def _note(self, held: Held, error: TaskError | None) -> int:
        """Keep *error* with those before it; return how many there have been."""
        if error is None:
            return held.errors
        count = held.errors + 1
        self._txn.do("settle.note_error", held.seq, count, error_text(error))
        if count > MAX_ERRORS:
            self._txn.do("settle.forget_errors", held.seq, count - MAX_ERRORS)
        return count

    def _write(self) -> None:
        if self._ended:
            end(self._txn, self._ended, "settle.end")
            self._ended.clear()
        if self._back:
            self._txn.do_all("settle.come_back", self._back)
            self._back.clear()


def end(txn: Writing, rows: Sequence[Held], verb: str) -> None:
    """Let messages end by *verb*: of each only the id stays, for as long as it asked."""
    txn.do_for(verb, [held.seq for held in rows], txn.now_ms)
    _clean_up(txn, [(held.id, held.seq, held.unique_key, held.errors) for held in rows])


def _objection_to(settlement: Settlement, admission: Admission, wall_ms: int) -> str:
    """Say which follow-up cannot be published; empty when all of them can."""
    bodies: dict[str, bytes] = {}
    for message in settlement.follow_ups:
        known = admission.status_of_known(message)
        if (
            known is PublishStatus.CONFLICT
            or bodies.setdefault(message.id, message.body) != message.body
        ):
            return f"follow-up {message.id}: this id is known with another body"
        if known is None and (objection := objection_to(message, delay_of(message, wall_ms))):
            return f"follow-up {message.id}: {objection}"
    return ""

"""The steps that make messages: `Broker.publish`, and the follow-ups of a settlement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from stem_core import failpoints
from stem_core.contracts.messages import Message, Published, PublishStatus
from stem_core.embedded.sqlite.rows import (
    DELAYED,
    ENDED,
    IN_ROW,
    READY,
    digest_of,
    fits_in_row,
    more_of,
    says_the_usual,
)
from stem_core.embedded.sqlite.store_time import StoreTime
from stem_core.embedded.sqlite.transaction import Effects, Row, Writing

__all__ = [
    "MAX_BATCH",
    "MAX_BATCH_BYTES",
    "MAX_DELAY_MS",
    "MAX_PAYLOAD",
    "Admission",
    "announce",
    "delay_of",
    "draft_of",
    "is_whole",
    "objection_to",
    "publish",
    "row_of",
]

MAX_BATCH: Final = 500
MAX_BATCH_BYTES: Final = 64 * 1024 * 1024
MAX_PAYLOAD: Final = 16 * 1024 * 1024
MAX_DELAY_MS: Final = 10 * 365 * 86_400_000

_CREATED: Final = PublishStatus.CREATED


def row_of(message: Message, time: StoreTime) -> Row | None:
    """Return the values of `publish.insert_one` for *message* but for its ticket; None if it takes
    more to publish it, or to say why not."""
    now_ms = time.now_ms()
    columns = draft_of(message)
    if columns is not None:
        row: Row | None = (now_ms, *columns)
    else:
        row = _row_of(message, now_ms, time.wall_ms())
    if failpoints.ARMED and row is not None:
        failpoints.reach("sqlite.publish_alone.before_commit")
    return row


def draft_of(message: Message) -> Row | None:
    """Return the columns of *message* that no transaction decides; None unless it is sound and
    says nothing but the usual, as most do."""
    if not _is_plain(message):
        return None
    body = message.body
    return (
        message.id, message.queue, message.task, 9 - message.priority, READY, None,
        message.lease_ms, message.dedupe_for_ms, digest_of(body), None, None, None, body,
    )  # fmt: skip


def _is_plain(message: Message) -> bool:
    return (
        says_the_usual(message)
        and len(message.body) <= IN_ROW
        and type(priority := message.priority) is int
        and 0 <= priority <= 9
        and type(lease_ms := message.lease_ms) is int
        and 0 < lease_ms <= MAX_DELAY_MS
        and type(dedupe_ms := message.dedupe_for_ms) is int
        and 0 <= dedupe_ms <= MAX_DELAY_MS
        and message.id.isascii()
        and message.queue.isascii()
        and message.task.isascii()
    )


def _row_of(message: Message, now_ms: int, wall_ms: int) -> Row | None:
    delay_ms = delay_of(message, wall_ms)
    if message.unique is not None or not fits_in_row(message.body):
        return None
    if objection_to(message, delay_ms):
        return None
    return (now_ms, *_columns(message, now_ms, delay_ms))


def announce(message: Message, effects: Effects, row: Row) -> None:
    """Tell of *message*, which was published as *row* of `row_of`."""
    _announce(message, effects, row[1:])


def _announce(message: Message, effects: Effects, columns: Row) -> None:
    due_ms = columns[_DUE]
    if due_ms is None:
        effects.ready.add(message.queue)
    else:
        effects.due(due_ms)


def publish(
    txn: Writing, messages: Sequence[Message], drafts: Sequence[Row | None]
) -> Sequence[Published]:
    """`Broker.publish`; *drafts* are those of the messages."""
    replies = _published(txn, messages, drafts)
    if failpoints.ARMED:
        failpoints.reach("sqlite.publish.before_commit")
    return replies


def _published(
    txn: Writing, messages: Sequence[Message], drafts: Sequence[Row | None]
) -> Sequence[Published]:
    # Hardly ever is an id known: find out by writing, without a look before.
    plain = [draft for draft in drafts if draft is not None]
    if len(plain) == len(drafts):
        if _all_new(txn, plain):
            return [Published(_CREATED, message.id) for message in messages]
    elif all(message.unique is None for message in messages):
        admission = Admission(txn)
        replies = [admission.admit(message) for message in messages]
        if admission.write():
            return replies
    admission = Admission(txn, messages)
    replies = [admission.admit(message) for message in messages]
    admission.write()
    return replies


def _all_new(txn: Writing, drafts: Sequence[Row]) -> bool:
    """Let *drafts* be messages; False, and nothing is, when an id was known."""
    base, now_ms, ticket = txn.fence_base, txn.now_ms, txn.ticket
    rows = [(base, base, base, ticket(), now_ms, *draft) for draft in drafts]
    if not _inserted(txn, rows):
        return False
    txn.effects.ready.update({draft[_QUEUE] for draft in drafts})
    return True


def _inserted(txn: Writing, rows: Sequence[Row]) -> bool:
    """Insert *rows*; False, and none of them is there, when an id was known."""
    if txn.insert("publish.insert", rows) == len(rows):
        return True
    txn.do_all("publish.take_back", [(row[_TICKET], row[_ID]) for row in rows])
    return False


class Admission:
    """Messages on their way in: each is decided, then all are written together.

    Args:
        expected: those whose ids are looked up first.
    """

    def __init__(self, txn: Writing, expected: Sequence[Message] = ()) -> None:
        self._txn: Final = txn
        self._known: Final[dict[str, tuple[int, int | None, int, int]]] = {
            row[0]: row[1:] for row in txn.among("publish.known", [each.id for each in expected])
        }
        self._rows: Final[list[Row]] = []
        self._bodies: Final[list[tuple[bytes, str]]] = []

    def admit(self, message: Message) -> Published:
        """Accept *message*, or say why not."""
        if message.id in self._known and (status := self.status_of_known(message)):
            return Published(status, message.id)
        if (draft := draft_of(message)) is not None:
            self._add(message, draft)
            return Published(_CREATED, message.id)
        delay_ms = delay_of(message, self._txn.wall_ms)
        if objection := objection_to(message, delay_ms):
            return Published(PublishStatus.REFUSED, message.id, objection)
        if message.unique is not None:
            holder = self._txn.one("publish.holder", message.unique.key, self._txn.now_ms)
            if holder is not None:
                return Published(PublishStatus.UNIQUE, holder[0])
            self._claim(message)
        self._add(message, _columns(message, self._txn.now_ms, delay_ms))
        return Published(_CREATED, message.id)

    def status_of_known(self, message: Message) -> PublishStatus | None:
        """Say what publishing a known id again means; None when it is not known any more."""
        known = self._known.get(message.id)
        if known is None:
            return None
        place, due_ms, digest, fence = known
        if place == ENDED and due_ms is not None and due_ms <= self._txn.now_ms:
            self._txn.raise_fence_base(fence + 1)
            self._txn.do("publish.lift", message.id)
            del self._known[message.id]
            return None
        same = digest == digest_of(message.body)
        return PublishStatus.DUPLICATE if same else PublishStatus.CONFLICT

    def write(self) -> bool:
        """Let what was accepted be there; False, and nothing is, when an id was known."""
        if not _inserted(self._txn, self._rows):
            return False
        if self._bodies:
            self._txn.do_all("publish.insert_body", self._bodies)
        return True

    def _claim(self, message: Message) -> None:
        unique = message.unique
        assert unique is not None
        until_ms = self._txn.now_ms + unique.window_ms if unique.until == "window" else None
        self._txn.do("publish.claim", unique.key, message.id, until_ms)

    def _add(self, message: Message, columns: Row) -> None:
        txn = self._txn
        base = txn.fence_base
        self._rows.append((base, base, base, txn.ticket(), txn.now_ms, *columns))
        if not fits_in_row(message.body):
            self._bodies.append((message.body, message.id))
        self._known[message.id] = (columns[_PLACE], columns[_DUE], columns[_DIGEST], base)
        _announce(message, txn.effects, columns)


_QUEUE, _PLACE, _DUE, _DIGEST = 1, 4, 5, 8  # in a draft
_TICKET, _ID = 3, 5  # in a row, where what the transaction decides comes first


def _columns(message: Message, now_ms: int, delay_ms: int) -> Row:
    """Return the columns of a new row, but for those that the transaction decides."""
    unique, body = message.unique, message.body
    place, due_ms = (DELAYED, now_ms + delay_ms) if delay_ms > 0 else (READY, None)
    return (
        message.id, message.queue, message.task, 9 - message.priority, place, due_ms,
        message.lease_ms, message.dedupe_for_ms, digest_of(body), unique and unique.key,
        unique and unique.until, more_of(message), body if fits_in_row(body) else None,
    )  # fmt: skip


def delay_of(message: Message, wall_ms: int) -> int:
    """Turn an instant into a wait, by the wall clock of now."""
    if message.not_before_ms:
        return max(0, message.not_before_ms - wall_ms)
    return message.delay_ms


def objection_to(message: Message, delay_ms: int) -> str:
    """Say why *message* can never be kept; empty when it can."""
    if len(message.body) > MAX_PAYLOAD:
        return f"the body has {len(message.body)} bytes, more than {MAX_PAYLOAD}"
    if not is_whole(message.priority, 9):
        return f"priority {message.priority!r} is not one of 0 to 9"
    if not is_whole(message.lease_ms, MAX_DELAY_MS) or not message.lease_ms:
        return (
            f"a lease of {message.lease_ms!r} is not a whole number of milliseconds "
            f"from 1 to {MAX_DELAY_MS}"
        )
    if not is_whole(delay_ms, MAX_DELAY_MS):
        return f"a delay of {delay_ms!r} ms is not a whole number up to {MAX_DELAY_MS}"
    return _objection_to_counts(message) or _objection_to_texts(message)


def is_whole(number: object, most: int) -> bool:
    """Decide whether *number* is an int from 0 to *most*."""
    return type(number) is int and 0 <= number <= most


def _objection_to_counts(message: Message) -> str:
    if not is_whole(message.dedupe_for_ms, MAX_DELAY_MS):
        return f"dedupe_for_ms={message.dedupe_for_ms!r} is not a whole number in bounds"
    if not is_whole(message.max_lapses, MAX_DELAY_MS):
        return f"max_lapses={message.max_lapses!r} is not a whole number in bounds"
    if message.unique is not None and not is_whole(message.unique.window_ms, MAX_DELAY_MS):
        return f"a window of {message.unique.window_ms!r} ms is not a whole number in bounds"
    return ""


def _objection_to_texts(message: Message) -> str:
    """SQLite keeps text as UTF-8, which has no place for half a surrogate pair."""
    texts = [message.id, message.queue, message.task, message.key_id, message.algorithm]
    texts += [message.partition, message.content_type, *message.limit_keys]
    if message.unique is not None:
        texts.append(message.unique.key)
    text = "".join(texts)
    try:
        if not text.isascii():
            text.encode()
    except UnicodeEncodeError:
        return "a name in it is no valid Unicode"
    return ""

"""From calls to jobs: prepared, handed to a lane, and each reply judged.

Rule of this module: it knows what a reply of a broker means to a caller. How messages
are made is `pipeline`, how they travel is `lane`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from stem_core.contracts.broker import TransactionalBroker
from stem_core.contracts.messages import Message, Published, PublishStatus
from stem_core.contracts.observer import Event
from stem_core.model.codec import decode
from stem_core.model.errors import (
    CapabilityMissing,
    DecodeError,
    EnqueueError,
    IdConflict,
    InvalidOption,
    PublishRefused,
    UsageError,
)
from stem_core.producer.lane import Lane, chunks
from stem_core.producer.sending import dropped
from stem_core.producer.tasks import Call, not_a_call

__all__ = [
    "checked",
    "created",
    "enqueued",
    "publish_in",
    "publish_in_sync",
    "reconsidered",
    "refusal",
    "the_connection",
    "transactional",
]


def checked(calls: Iterable[Call[Any]]) -> list[Call[Any]]:
    """Return *calls* as a list, or say what is none. A coroutine among them is closed.

    Raises:
        UsageError: names the first that is no call, and its place.
    """
    if not isinstance(calls, Iterable):
        raise UsageError(
            f"enqueue_many takes calls, got one {type(calls).__name__}",
            way_out="Write enqueue_many([task.call(…), …]).",
        )
    todo: list[Any] = list(calls)
    wrong = [place for place, call in enumerate(todo) if not isinstance(call, Call)]
    for place in wrong:
        dropped(todo[place])
    if wrong:
        raise not_a_call(todo[wrong[0]], f"call {wrong[0]} of enqueue_many")
    return todo


def the_connection(calls: Sequence[Call[Any]]) -> object:
    """Return the one connection that all *calls* ask for, None for none."""
    ways = {id(call.how): call.how for call in calls}  # most calls share one
    connections = {id(how.connection): how.connection for how in ways.values()}
    if len(connections) > 1:
        raise InvalidOption(
            "calls with different connections cannot be sent together",
            way_out="Send each connection's calls by themselves.",
        )
    return next(iter(connections.values()), None)


async def reconsidered(
    lane: Lane, messages: Sequence[Message], replies: Sequence[Published]
) -> list[Published]:
    """Return *replies*, a conflict as a duplicate where the caller asked for the same thing again.

    A broker compares bodies, and a call that is made again carries a later time and
    another trace. What it asks for is its task and its arguments. Of one that has ended
    only its record is left, which knows the task, or not even that; and an id that was
    chosen is there to run its task once.
    """
    doubtful = [
        place for place, reply in enumerate(replies) if reply.status is PublishStatus.CONFLICT
    ]
    ids = [messages[place].id for place in doubtful]
    known = await lane.lookup(ids)
    records = await lane.load(ids) if None in known else [None] * len(ids)
    judged = list(replies)
    for place, located, record in zip(doubtful, known, records, strict=True):
        if located is None:
            is_same = record is None or record.task in ("", messages[place].task)
        else:
            is_same = _asks_the_same(located.message, messages[place])
        if is_same:
            judged[place] = Published(PublishStatus.DUPLICATE, messages[place].id)
    return judged


def _asks_the_same(one: Message, other: Message) -> bool:
    if one.task != other.task:
        return False
    try:
        # Each was small enough for the limit of its own producer.
        mine = decode(other.body, max_bytes=len(other.body))
        return decode(one.body, max_bytes=len(one.body)).args == mine.args
    except DecodeError:
        return False


def refusal(call: Call[Any], message: Message, reply: Published) -> EnqueueError | None:
    """Return why the broker did not take *message*, or None if it did."""
    match reply.status:
        case PublishStatus.CONFLICT:
            return IdConflict(
                f"{call.name}: the id {message.id} is in use by another call: "
                "of another task, or with other arguments",
                way_out="Choose another task_id.",
            )
        case PublishStatus.REFUSED:
            return PublishRefused(f"{call.name}: the broker refused it: {reply.reason}")
        case PublishStatus.CREATED | PublishStatus.DUPLICATE | PublishStatus.UNIQUE:
            return None


def created(call: Call[Any], reply: Published) -> bool:
    """Return whether this call made a message that was not there before.

    A duplicate of a generated id is this very call, sent again after a lost reply.
    """
    if reply.status is PublishStatus.DUPLICATE:
        return call.how.task_id is None
    return reply.status is PublishStatus.CREATED


def enqueued(message: Message, at_ms: int) -> Event:
    """Return the event of a message that was published."""
    return Event(
        name="task-enqueued",
        at_ms=at_ms,
        task_id=message.id,
        task=message.task,
        queue=message.queue,
    )


# ── in the caller's transaction ──────────────────────────────────────────────


async def publish_in(
    lane: Lane, connection: object, messages: Iterable[Message]
) -> list[Published]:
    """Publish on the caller's asynchronous connection; neither commits nor shares calls."""
    broker = transactional(lane, connection)
    replies: list[Published] = []
    for chunk in chunks(messages, lane.capabilities):
        replies.extend(await broker.publish_in(connection, chunk))
    return replies


def publish_in_sync(lane: Lane, connection: object, messages: Iterable[Message]) -> list[Published]:
    """Publish on the caller's blocking connection, in the caller's thread."""
    broker = transactional(lane, connection)
    replies: list[Published] = []
    for chunk in chunks(messages, lane.capabilities):
        replies.extend(broker.publish_in_sync(connection, chunk))
    return replies


def transactional(lane: Lane, connection: object) -> TransactionalBroker:
    """Return the broker of *lane*, which can use *connection*.

    Raises:
        CapabilityMissing, InvalidOption: it is not transactional, or cannot use this one.
    """
    broker = lane.broker
    if not isinstance(broker, TransactionalBroker):
        raise CapabilityMissing(
            f"connection= asks for the capability 'transactional', which {lane.at} does not have",
            way_out="Leave it out, or use a broker that shares your database.",
        )
    if not broker.accepts(connection):
        raise InvalidOption(
            f"connection={type(connection).__qualname__} is none that {lane.at} can use",
            way_out="Give an open connection of this broker's own driver.",
        )
    return broker

"""A broker with bugs on purpose: what is wrong with other queues, each as one small class.

Every bug is a way in which a broker that looks well loses, doubles or disorders tasks. The
kit has to tell each of them from the broker without it, by the promise that it breaks.
Rule of this module: a bug overrides verbs of the sound broker and is itself as plain as
the mistake it stands for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

from leaky.bounded import BoundedAdmin, BoundedBroker

from stem_core.contracts.admin import Health, LocatedPage
from stem_core.contracts.messages import (
    ACK,
    Cancellation,
    Cancelled,
    CancelStatus,
    DeadLetter,
    Delivery,
    Extended,
    ExtendStatus,
    Extension,
    Located,
    Message,
    Published,
    PublishStatus,
    Release,
    RetryLater,
    Settled,
    Settlement,
    SettleStatus,
)
from stem_core.embedded.memory.admin import MemoryAdmin
from stem_core.embedded.memory.store import MemoryStore
from stem_core.model.value import replace

__all__ = ["BUGS", "Bug", "leaky"]

_sent: WeakKeyDictionary[MemoryStore, dict[str, Message]] = WeakKeyDictionary()
_given: WeakKeyDictionary[MemoryStore, dict[str, Delivery]] = WeakKeyDictionary()


class Bug(BoundedBroker):
    """One thing that is wrong.

    Attributes:
        breaks: the promise by which the kit has to find it.
    """

    breaks: ClassVar[str]

    @property
    def sent(self) -> dict[str, Message]:
        """What was published, as it was published."""
        return _sent.setdefault(self.store, {})

    @property
    def given(self) -> dict[str, Delivery]:
        """The last delivery of each id."""
        return _given.setdefault(self.store, {})


class _Disguise(Bug):
    """Keeps messages in another form than it was given, and hands them out in the first."""

    def disguised(self, message: Message) -> Message:
        raise NotImplementedError

    async def publish(self, messages: Sequence[Message]) -> Sequence[Published]:
        self.sent.update((message.id, message) for message in messages)
        return await super().publish([self.disguised(message) for message in messages])

    async def fetch(self, queues: Sequence[str], **how: Any) -> Sequence[Delivery]:
        taken = await super().fetch(queues, **how)
        return [replace(d, message=self.sent.get(d.message.id, d.message)) for d in taken]

    async def lookup(self, ids: Sequence[str]) -> Sequence[Located | None]:
        found = await super().lookup(ids)
        return [f and replace(f, message=self.sent.get(f.message.id, f.message)) for f in found]


# ── publish ──────────────────────────────────────────────────────────────────


class DedupeMissing(Bug):
    """A message that is published again after a lost reply becomes a second one."""

    breaks = "PUBLISH-3"

    async def publish(self, messages: Sequence[Message]) -> Sequence[Published]:
        replies = list(await super().publish(messages))
        for place, (message, reply) in enumerate(zip(messages, replies, strict=True)):
            if reply.status is PublishStatus.DUPLICATE:
                again = replace(message, id=f"{message.id}~{len(self.sent)}")
                self.sent[again.id] = message
                await super().publish([again])
                replies[place] = Published(PublishStatus.CREATED, message.id)
        return replies

    async def fetch(self, queues: Sequence[str], **how: Any) -> Sequence[Delivery]:
        taken = await super().fetch(queues, **how)
        return [replace(d, message=self.sent.get(d.message.id, d.message)) for d in taken]


class ConflictOverlooked(Bug):
    """The same id with another body is taken for the same message, and dropped."""

    breaks = "PUBLISH-4"

    async def publish(self, messages: Sequence[Message]) -> Sequence[Published]:
        replies = await super().publish(messages)
        return [
            replace(r, status=PublishStatus.DUPLICATE) if r.status is PublishStatus.CONFLICT else r
            for r in replies
        ]


class UniqueIgnored(_Disguise):
    """Unique keys are accepted and not looked at."""

    breaks = "PUBLISH-5"

    def disguised(self, message: Message) -> Message:
        return replace(message, unique=None)


class DelayedEarly(_Disguise):
    """Delayed work is delivered at once."""

    breaks = "PUBLISH-6"

    def disguised(self, message: Message) -> Message:
        return replace(message, delay_ms=0, not_before_ms=0)


class BytesMangled(Bug):
    """Bodies go through text on their way."""

    breaks = "BROKER-5"

    async def publish(self, messages: Sequence[Message]) -> Sequence[Published]:
        texts = [message.body.decode(errors="replace").strip("\0") for message in messages]
        return await super().publish(
            [replace(m, body=t.encode()) for m, t in zip(messages, texts, strict=True)]
        )


class BatchTornByRefusal(Bug):
    """One message that is refused takes those behind it along."""

    breaks = "PUBLISH-2"

    async def publish(self, messages: Sequence[Message]) -> Sequence[Published]:
        replies: list[Published] = []
        for message in messages:
            replies += await super().publish([message])
            if replies[-1].status is PublishStatus.REFUSED:
                rest = messages[len(replies) :]
                return [*replies, *(Published(PublishStatus.REFUSED, m.id, "torn") for m in rest)]
        return replies


# ── fetch ────────────────────────────────────────────────────────────────────


class PriorityIgnored(_Disguise):
    """First come, first served, whatever its priority."""

    breaks = "FETCH-2"

    def disguised(self, message: Message) -> Message:
        return replace(message, priority=0)


class LeaseNeverLapses(_Disguise):
    """What a dead worker held is never given to another."""

    breaks = "FETCH-4"

    def disguised(self, message: Message) -> Message:
        return replace(message, lease_ms=10**9)


class CrossQueueLeak(Bug):
    """A fetch of one queue empties the others too."""

    breaks = "FETCH-2"

    async def fetch(self, queues: Sequence[str], **how: Any) -> Sequence[Delivery]:
        known = [stats.queue for stats in await self.admin.stats()]
        return await super().fetch([*queues, *(q for q in known if q not in queues)], **how)


class TwoTakers(Bug):
    """Who asks while nothing is ready is given what another one holds."""

    breaks = "FETCH-1"

    async def fetch(self, queues: Sequence[str], **how: Any) -> Sequence[Delivery]:
        taken = await super().fetch(queues, **(how | {"wait_ms": 0}))
        if not taken:
            held = [d for d in self.given.values() if d.message.queue in queues]
            live = await super().lookup([d.message.id for d in held])
            taken = [d for d, found in zip(held, live, strict=True) if found][: how["limit"]]
        self.given.update((d.message.id, d) for d in taken)
        return taken or await super().fetch(queues, **how)


class MissedWakeUp(Bug):
    """Looks, waits until the time is over, and looks again."""

    breaks = "FETCH-7"

    async def fetch(self, queues: Sequence[str], **how: Any) -> Sequence[Delivery]:
        taken = await super().fetch(queues, **(how | {"wait_ms": 0}))
        if taken or how["wait_ms"] <= 0:
            return taken
        await super().fetch(["nobody-sends-here"], **how)
        return await super().fetch(queues, **(how | {"wait_ms": 0}))


class ExpiredDropped(Bug):
    """What has expired is thrown away without an outcome."""

    breaks = "FETCH-10"

    async def fetch(self, queues: Sequence[str], **how: Any) -> Sequence[Delivery]:
        taken = await super().fetch(queues, **how)
        gone = [d for d in taken if 0 < d.message.expires_at_ms < self.store.clock.wall_ms()]
        await super().settle([Settlement(receipt=d.receipt) for d in gone])
        return [d for d in taken if d not in gone]


# ── leases and settlement ────────────────────────────────────────────────────


class NoFence(Bug):
    """A receipt is an id: who has lost the lease settles all the same."""

    breaks = "SETTLE-2"

    async def settle(self, settlements: Sequence[Settlement]) -> Sequence[Settled]:
        found = await self.lookup([s.receipt.id for s in settlements])
        return await super().settle(
            [
                replace(s, receipt=replace(s.receipt, fence=f.fence)) if f else s
                for s, f in zip(settlements, found, strict=True)
            ]
        )


class ExtendIgnored(Bug):
    """Says that the lease is held, and does nothing for it."""

    breaks = "EXTEND-1"

    async def extend(self, extensions: Sequence[Extension]) -> Sequence[Extended]:
        found = await self.lookup([e.receipt.id for e in extensions])
        return [
            Extended(ExtendStatus.HELD, e.lease_ms)
            if f is not None and f.fence == e.receipt.fence
            else Extended(ExtendStatus.LOST)
            for e, f in zip(extensions, found, strict=True)
        ]


class AckBeforeWrite(Bug):
    """Ends the message first and saves its result afterwards, if it can."""

    breaks = "SETTLE-8"

    async def settle(self, settlements: Sequence[Settlement]) -> Sequence[Settled]:
        replies = await super().settle([replace(s, record=None) for s in settlements])
        for settlement, reply in zip(settlements, replies, strict=True):
            if settlement.record is not None and reply.status is SettleStatus.DONE:
                self.store.step(self.store.records.save, [settlement.record])
        return replies


class ResultLostOnAck(Bug):
    """Ends the message and forgets its result."""

    breaks = "SETTLE-1"

    async def settle(self, settlements: Sequence[Settlement]) -> Sequence[Settled]:
        return await super().settle([replace(s, record=None) for s in settlements])


class FollowUpsLost(Bug):
    """Ends the message and forgets what was to come after it."""

    breaks = "SETTLE-1"

    async def settle(self, settlements: Sequence[Settlement]) -> Sequence[Settled]:
        return await super().settle([replace(s, follow_ups=()) for s in settlements])


class RetryRemovesFirst(Bug):
    """A retry is an ack, and then a publish that knows nothing of earlier attempts."""

    breaks = "SETTLE-5"

    async def settle(self, settlements: Sequence[Settlement]) -> Sequence[Settled]:
        plain = [
            replace(s, outcome=ACK) if isinstance(s.outcome, RetryLater) else s for s in settlements
        ]
        found = await self.lookup([s.receipt.id for s in settlements])
        replies = await super().settle(plain)
        await self.publish([f.message for f, s in zip(found, settlements, strict=True)
                            if f is not None and isinstance(s.outcome, RetryLater)])  # fmt: skip
        return replies


class ReleaseCountsAnAttempt(Bug):
    """Work that a deploy hands back has failed once more."""

    breaks = "SETTLE-7"

    async def settle(self, settlements: Sequence[Settlement]) -> Sequence[Settled]:
        return await super().settle(
            [
                replace(s, outcome=RetryLater(s.outcome.after_ms))
                if isinstance(s.outcome, Release)
                else s
                for s in settlements
            ]
        )


class FollowUpsDroppedWhenFull(Bug):
    """Where there is no room for what is to come next, the rest is done without it."""

    breaks = "SETTLE-10"

    async def settle(self, settlements: Sequence[Settlement]) -> Sequence[Settled]:
        if "full" in self.troubles:
            settlements = [replace(each, follow_ups=()) for each in settlements]
        return await super().settle(settlements)


class SettledTwice(Bug):
    """A settlement that is sent again counts as done again."""

    breaks = "SETTLE-3"

    async def settle(self, settlements: Sequence[Settlement]) -> Sequence[Settled]:
        replies = await super().settle(settlements)
        return [
            Settled(SettleStatus.DONE) if r.status is SettleStatus.ALREADY else r for r in replies
        ]


class DeadLettersDropped(Bug):
    """A dead letter is an ack with a sad face."""

    breaks = "SETTLE-6"

    async def settle(self, settlements: Sequence[Settlement]) -> Sequence[Settled]:
        return await super().settle(
            [
                replace(s, outcome=ACK) if isinstance(s.outcome, DeadLetter) else s
                for s in settlements
            ]
        )


# ── cancel and operators ─────────────────────────────────────────────────────


class CancelIgnored(Bug):
    """Says that the task is cancelled, and lets it run."""

    breaks = "CANCEL-1"

    async def cancel(self, cancellations: Sequence[Cancellation]) -> Sequence[Cancelled]:
        found = await self.lookup([c.id for c in cancellations])
        return [
            Cancelled(CancelStatus.CANCELLED, f.message, f.fence)
            if f
            else Cancelled(CancelStatus.UNKNOWN)
            for f in found
        ]


class _Cheerful(BoundedAdmin):
    async def health(self) -> Health:
        return await MemoryAdmin.health(self)


class ReplicaIsHealthy(Bug):
    """Health is asked by a ping, which a replica answers."""

    breaks = "ADMIN-9"

    @property
    def admin(self) -> MemoryAdmin:
        return _Cheerful(self)


class _Careless(MemoryAdmin):
    async def pause(self, queue: str) -> None:
        await asyncio.sleep(0)


class PauseIgnored(Bug):
    """A paused queue goes on."""

    breaks = "FETCH-9"

    @property
    def admin(self) -> MemoryAdmin:
        return _Careless(self)


class _Truncating(MemoryAdmin):
    async def dead_letters(self, *args: Any, **how: Any) -> LocatedPage:
        page = await super().dead_letters(*args, **how)
        cut = [replace(d, message=replace(d.message, body=d.message.body[:16])) for d in page.items]
        return replace(page, items=tuple(cut))


class DeadLetterLosesBytes(Bug):
    """Dead letters are kept in a column that is too short."""

    breaks = "ADMIN-3"

    @property
    def admin(self) -> MemoryAdmin:
        return _Truncating(self)


def _name_of(kind: type[Bug]) -> str:
    return "".join(f"-{c.lower()}" if c.isupper() else c for c in kind.__name__).lstrip("-")


def _all() -> list[type[Bug]]:
    kinds = [*Bug.__subclasses__(), *_Disguise.__subclasses__()]
    return [kind for kind in kinds if not kind.__name__.startswith("_")]


BUGS: dict[str, type[Bug]] = {_name_of(kind): kind for kind in _all()}
"""All of them by name, such as ``no-fence``."""


def leaky(*bugs: str) -> type[BoundedBroker]:
    """Return a broker with *bugs*; without any it is sound."""
    if not bugs:
        return BoundedBroker
    return type("LeakyBroker", tuple(BUGS[bug] for bug in bugs), {})

"""The broker contract: moving sealed bytes from producers to workers.

A broker is a state machine over messages. A live message is in exactly one
place: ready, delayed, parked, leased or dead. Every verb is a batch, every
settlement is one atomic step at the store, and every step that ends or renews
a lease carries its receipt and is refused when that is stale.

Three counters belong to each message, and no one of them is ever derived from
another: the **fence** (one more at every lease, for the life of the id: through
retry, release, park, dead letter and replay), the **attempt** (one more when the
task itself failed) and the **lapses** (leases in a row that ended by lapsing;
back to zero with any settlement).

Rules for every verb:

[BROKER-1] The broker's own clock decides what is due and what has lapsed; no
clock of a producer or worker takes part, but for an absolute `not_before_ms`.
[BROKER-2] A verb raises `StoreError` and its kin for what the store or the
network did, never a driver's own exception. Replies about single items are
values, by position, as many as there were requests; an empty batch gives an
empty reply and no round trip.
[BROKER-3] Cancelling the awaiting task leaves the store as if the call had been
made or had not been made, never in between.
[BROKER-4] A handle belongs to the event loop that first awaits it; awaiting it
in another loop, or after a fork, raises `WrongLoop`.
[BROKER-5] Bodies, ids and signatures come back byte for byte: NUL, emoji and
64 KiB alike.
[BROKER-6] Nothing is deleted without an outcome: only ack, cancel, discard,
purge and the end of a retention time remove a message.
[BROKER-7] A caller sends at most `max_batch` items in one call of any verb, and at
most `max_batch_bytes` of bodies, values and follow-ups in one `settle`; a broker
that is sent more may raise `ValueError` before it writes anything. A single
settlement that is larger than that is `INVALID`.
[BROKER-8] `settle` honours `after_ms` and keeps dead letters whatever is declared;
the capabilities `delay` and `dead_letters` speak of `publish` and of listing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

from stem_core.contracts.capabilities import Capabilities
from stem_core.contracts.messages import (
    Cancellation,
    Cancelled,
    Delivery,
    Extended,
    Extension,
    Located,
    Message,
    Published,
    Settled,
    Settlement,
)

if TYPE_CHECKING:
    from stem_core.contracts.admin import BrokerAdmin
    from stem_core.contracts.control import ControlChannel
    from stem_core.contracts.limits import LimitStore
    from stem_core.contracts.losses import Losses

__all__ = ["Broker", "TransactionalBroker"]


class Broker(ABC):
    """Moves messages from producers to workers, at least once, fenced."""

    @property
    @abstractmethod
    def capabilities(self) -> Capabilities:
        """What this broker can do; constant for the life of the handle."""

    @property
    @abstractmethod
    def store_id(self) -> str:
        """The identity of the store and namespace behind this handle.

        Taken from the store (its run id), never from a URL; it is asked for without
        `await`, once `open` has returned. A result backend with
        an equal one is the same store: then records are saved by `settle`.
        """

    @abstractmethod
    async def publish(self, messages: Sequence[Message]) -> Sequence[Published]:
        """Accept messages, each whole or not at all.

        [PUBLISH-1] `CREATED` means accepted to the declared durability.
        [PUBLISH-2] A refusal of one message never touches its neighbours.
        [PUBLISH-3] Idempotent on the id while the id is live, dead, or ended less
        than `dedupe_for_ms` ago: the same body gives `DUPLICATE` and makes nothing.
        [PUBLISH-4] The same id with another body is a `CONFLICT` and changes nothing.
        [PUBLISH-5] A unique key that is held gives `UNIQUE` with the holder's id.
        The key is taken in the step that creates the message, and freed as
        `UniqueKey.until` says in the step that ends or leases it.
        [PUBLISH-6] A message with `delay_ms`, or a `not_before_ms` that lies ahead,
        is never delivered before its time.
        [PUBLISH-7] Within one call messages become ready in the order given.
        [PUBLISH-8] A call that raises has been done whole or not at all, and may be
        sent again.
        [PUBLISH-9] At most `max_batch` messages and `max_batch_bytes` of bodies a
        call; more is a `ValueError` before anything is sent. A body above
        `max_payload` that comes alone is `REFUSED`.
        """

    @abstractmethod
    async def fetch(
        self, queues: Sequence[str], *, limit: int, wait_ms: int, worker: str
    ) -> Sequence[Delivery]:
        """Lease up to *limit* messages, waiting up to *wait_ms* for the first.

        [FETCH-1] A message goes to one taker; no two hold a lease of it at once.
        [FETCH-2] Order: queues as given, then priority 9 to 0, then ready time.
        [FETCH-3] *limit* is a total over all queues; returns at once with what is
        ready, and waits only when nothing is.
        [FETCH-4] What is due is promoted, and what has lapsed is made ready again, in
        the same step; a lapse adds one to `lapses`.
        [FETCH-5] The fence is one more than at any earlier lease of this id, and above
        them all when the id was forgotten in between and is published again.
        [FETCH-6] The lease lasts the message's `lease_ms` from the broker's now.
        [FETCH-7] Waiting holds no lease, and a message that becomes ready while
        waiting ends the wait: no wake-up is missed.
        [FETCH-8] A cancelled fetch hands back what it took, without a trace in the
        counters but for the fence.
        [FETCH-9] A paused queue gives nothing; the others go on.
        [FETCH-10] Expired and poisoned messages are delivered like any other: the
        worker ends them, with a record.
        """

    @abstractmethod
    async def extend(self, extensions: Sequence[Extension]) -> Sequence[Extended]:
        """Let leases run anew.

        [EXTEND-1] `HELD`: the lease ends *lease_ms* from the broker's now, whether
        that is later or earlier than before.
        [EXTEND-2] Changes no fence and no counter; a lapse that was counted stays counted.
        [EXTEND-3] A stale receipt, a lapsed lease that somebody else took, an ended
        or unknown message: `LOST`, and nothing changes.
        [EXTEND-4] A lease that has lapsed but was given to nobody is `HELD` again.
        [EXTEND-5] `CANCEL_REQUESTED`: held, and `cancel` was called for it.
        [EXTEND-6] What cannot be decided right now, such as a row that its own
        handler's open transaction locks, counts as held.
        """

    @abstractmethod
    async def settle(self, settlements: Sequence[Settlement]) -> Sequence[Settled]:
        """End deliveries: each settlement is one atomic step, the batch is not.

        [SETTLE-1] All or nothing: outcome, record and follow-ups happen together, or
        none of them does. Everything is checked before the first write.
        [SETTLE-2] A stale receipt can do nothing at all: `STALE`.
        [SETTLE-3] Sent again after a lost reply it answers `ALREADY` and does nothing:
        while the message lives, and for `dedupe_for_ms` after its end; then `GONE`.
        [SETTLE-4] Ack ends the message and leaves its id for `dedupe_for_ms`.
        [SETTLE-5] `RetryLater`: same id, body and signature; attempt + 1, lapses 0,
        ready after `after_ms`, behind what is ready then; its error kept (the last 20).
        [SETTLE-6] `DeadLetter`: the message whole, its counters, reason and errors are
        kept for `keep_ms`; its id stays known and its unique key is freed.
        [SETTLE-7] `Release`: ready after `after_ms`, attempt unchanged, lapses 0,
        releases + 1, counted toward no limit. One with `after_ms` 0 goes before younger
        messages of its priority. `PARKED` is shown and counted as such until it is
        leased again; `parked_ms` counts from the first one, anew after a retry or snooze.
        [SETTLE-8] The record is saved iff `Record.replaces` says so; a record that may
        not be saved makes the settlement `STALE`.
        [SETTLE-9] A follow-up whose id exists with the same body counts as published;
        with another body the settlement is `INVALID`. One that is refused for a
        held unique key counts as published too; the keys that the settled message itself
        frees are free by then.
        [SETTLE-10] An unknown id is `GONE`; without room for what it adds, `FULL`; with something
        of it locked by somebody who is no worker, `BUSY`, by a store that has such locks.
        [SETTLE-11] A lease that has lapsed but was given to nobody can still be settled.
        """

    @abstractmethod
    async def cancel(self, cancellations: Sequence[Cancellation]) -> Sequence[Cancelled]:
        """Ask that tasks do not run, or stop.

        [CANCEL-1] A waiting message ends at once: removed, its unique key freed, its
        record saved, in one step; the id stays known for `dedupe_for_ms`.
        [CANCEL-2] A leased one is marked: `REQUESTED`, and its holder learns it, with
        the reason, from `extend`, or the next taker from its delivery.
        [CANCEL-3] An ended or dead one is `FINISHED` and unchanged; an unknown id is
        `UNKNOWN`.
        """

    @abstractmethod
    async def lookup(self, ids: Sequence[str]) -> Sequence[Located | None]:
        """Say where messages are. [LOOKUP-1] Changes nothing, not even what is due.

        [LOOKUP-2] Live and dead messages are found, ended ones are None.
        """

    @abstractmethod
    def sibling(self) -> Self:
        """Return a second handle to the same store, for another loop or thread.

        [SIBLING-1] Opens its own connections on first use and closes independently.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """Free the connections. [CLOSE-1] Idempotent; leases are left to lapse."""

    # Companions: other contracts that the same store may offer. Not on the hot path.

    @property
    def admin(self) -> BrokerAdmin | None:
        """What operators do with this store, or None."""
        return None

    @property
    def control(self) -> ControlChannel | None:
        """Fan-out to live workers, or None."""
        return None

    @property
    def limits(self) -> LimitStore | None:
        """Shared rate and concurrency limits, or None."""
        return None

    @property
    def losses(self) -> Losses | None:
        """Who is told of what this handle finds to be lost, or None: it never finds out."""
        return None


class TransactionalBroker(Broker):
    """A broker that can take part in the caller's own transaction.

    [TXN-1] Nothing is visible before the caller commits, nothing exists after a
    rollback, and waiting workers are woken by the commit.
    [TXN-2] These verbs never commit, roll back or coalesce; they run on the
    connection given, in the caller's own thread or loop.
    """

    @abstractmethod
    def accepts(self, connection: object) -> bool:
        """Return whether *connection* is one that these verbs can use."""

    @abstractmethod
    async def publish_in(
        self, connection: object, messages: Sequence[Message]
    ) -> Sequence[Published]:
        """`publish` on the caller's asynchronous connection."""

    @abstractmethod
    async def settle_in(
        self, connection: object, settlements: Sequence[Settlement]
    ) -> Sequence[Settled]:
        """`settle` on the caller's asynchronous connection."""

    @abstractmethod
    def publish_in_sync(
        self, connection: object, messages: Sequence[Message]
    ) -> Sequence[Published]:
        """`publish` on the caller's blocking connection."""

    @abstractmethod
    def settle_in_sync(
        self, connection: object, settlements: Sequence[Settlement]
    ) -> Sequence[Settled]:
        """`settle` on the caller's blocking connection."""

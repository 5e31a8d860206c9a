"""`RedisStreamsBroker`: the broker contract over Redis or Valkey."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, ClassVar, Final, Self

from stem_core.plugin import (
    Broker,
    BrokerAdmin,
    Cancellation,
    Cancelled,
    Capabilities,
    ControlChannel,
    Delivery,
    Durability,
    Extended,
    Extension,
    LimitStore,
    Located,
    Losses,
    Message,
    Published,
    PublishStatus,
    Settled,
    Settlement,
    Support,
    replace,
    storable,
)
from stem_redis import publishing, settling
from stem_redis.admin import RedisAdmin
from stem_redis.control import RedisControl
from stem_redis.fetching import Fetching
from stem_redis.handle import RedisHandle, Store
from stem_redis.limits import RedisLimits
from stem_redis.line import Arg
from stem_redis.objections import (
    MAX_BATCH,
    MAX_BATCH_BYTES,
    MAX_DELAY_MS,
    MAX_PAYLOAD,
    refuse_too_much,
)
from stem_redis.packing import locate
from stem_redis.standing import Held

__all__ = ["CAPABILITIES", "RedisStreamsBroker"]


CAPABILITIES: Final = Capabilities(
    durability=Durability.CACHED,
    delay=Support.NATIVE,
    priority=Support.NATIVE,
    uniqueness=Support.NATIVE,
    dedupe=Support.NATIVE,
    cancel=Support.NATIVE,
    pause=Support.NATIVE,
    dead_letters=Support.NATIVE,
    atomic_results=Support.NATIVE,
    broadcast=Support.NATIVE,
    limits=Support.NATIVE,
    multiprocess=True,
    max_batch=MAX_BATCH,
    max_batch_bytes=MAX_BATCH_BYTES,
    max_payload=MAX_PAYLOAD,
    max_delay_ms=MAX_DELAY_MS,
)
_CREATED: Final = PublishStatus.CREATED
_SETTLED_AT_ONCE: Final = 250
"""A call keeps the server from all others for some milliseconds at most."""


class RedisStreamsBroker(RedisHandle, Broker):
    """A broker for many machines: every step is one script, fenced and by the server's clock.

    What an accepted message survives is what the server is set up for: see `capabilities`.
    """

    keeps_messages: ClassVar[bool] = True

    def __init__(self, store: Store, held: Held | None = None) -> None:
        super().__init__(store)
        self._fetching: Final = Fetching(self, held or Held())
        self._is_confirmed: Final = store.location.options.wait_replicas > 0
        self._in_order: Final = asyncio.Lock()

    @property
    def capabilities(self) -> Capabilities:
        """What this broker can do, and how durable its server is."""
        return replace(CAPABILITIES, durability=self.store.facts.durability)

    # ── the verbs ────────────────────────────────────────────────────────────

    async def publish(self, messages: Sequence[Message]) -> Sequence[Published]:
        self.enter()
        if self._is_confirmed:
            return await self._publish_confirmed(messages)
        plain = publishing.plain_arguments(messages)
        is_in_line = self._in_order.locked()  # behind a call that is out, as the last of many
        if len(messages) == 1 and plain is not None and not is_in_line:
            if await self.run_alone("publish_plain", *plain) == 0:
                return [Published(_CREATED, messages[0].id)]
            plain = None
        if plain is not None:
            refuse_too_much(messages, messages)
            return await self._publish(messages, plain)
        sent, refused = publishing.judged(messages)
        refuse_too_much(messages, sent)
        return publishing.merged(len(messages), refused, await self._publish(sent))

    async def _publish(
        self, messages: Sequence[Message], plain: Sequence[Arg] | None = None
    ) -> Sequence[Published]:
        if not messages:
            return []
        # Packed before the call that is out has ended, and sent after it: a second connection
        # might overtake the first.
        if plain is None:
            reply = await self._in_turn(self.ready("publish", *publishing.arguments(messages)))
        else:
            reply = await self._in_turn(self.ready("publish_plain", *plain), messages)
        return publishing.replies(messages, reply)

    async def _in_turn(
        self, run: Callable[[], Coroutine[Any, Any, Any]], messages: Sequence[Message] = ()
    ) -> Any:
        """Return what *run* returns, behind all that came before; what is not plain after all is
        published in the other way before anything that comes behind."""
        async with self._in_order:
            reply = await run()
            if reply == 0 or not messages:
                return reply
            return await self.run("publish", *publishing.arguments(messages))

    async def _publish_confirmed(self, messages: Sequence[Message]) -> Sequence[Published]:
        """Publish in the one way that writes whatever it is given: see `replicas`."""
        sent, refused = publishing.judged(messages)
        refuse_too_much(messages, sent)
        replies: Sequence[Published] = ()
        if sent:
            args = publishing.arguments(sent)
            async with self._in_order:
                reply = await self.run_confirmed("publish", *args)
            replies = publishing.replies(sent, reply)
        return publishing.merged(len(messages), refused, replies)

    async def fetch(
        self, queues: Sequence[str], *, limit: int, wait_ms: int, worker: str
    ) -> Sequence[Delivery]:
        self.enter()
        names = [queue for queue in dict.fromkeys(queues) if _is_text(queue)]
        if limit <= 0 or not names:
            return []
        return await self._fetching.fetch(
            names, limit=limit, wait_ms=wait_ms, worker=storable(worker)
        )

    async def extend(self, extensions: Sequence[Extension]) -> Sequence[Extended]:
        self.enter()
        if not extensions:
            return []
        reply = await self.run("extend", *settling.extend_arguments(extensions))
        extended = settling.extend_replies(extensions, reply)
        self._fetching.held.extended(extensions, extended, self.store.clock.monotonic_ms())
        return extended

    async def settle(self, settlements: Sequence[Settlement]) -> Sequence[Settled]:
        self.enter()
        if not settlements:
            return []
        settled: list[Settled] = []
        for start in range(0, len(settlements), _SETTLED_AT_ONCE):
            settled += await self._settle(settlements[start : start + _SETTLED_AT_ONCE])
        self._fetching.held.forget(settlements, settled)
        return settled

    async def _settle(self, settlements: Sequence[Settlement]) -> Sequence[Settled]:
        args, objections = settling.settle_arguments(settlements)
        reply = await self.run("settle", *self.homes, *args)
        return settling.settle_replies(reply, objections)

    async def cancel(self, cancellations: Sequence[Cancellation]) -> Sequence[Cancelled]:
        self.enter()
        if not cancellations:
            return []
        reply = await self.run("cancel", *self.homes, 0, *settling.cancel_arguments(cancellations))
        return settling.read_cancelled(cancellations, reply)

    async def lookup(self, ids: Sequence[str]) -> Sequence[Located | None]:
        self.enter()
        if not ids:
            return []
        # An id that is no text cannot be here, and still has its place in the reply.
        now_ms, *found = await self.run("lookup", *(id if _is_text(id) else "" for id in ids))
        return [
            None if kept is None else locate(now_ms, id, kept)
            for id, kept in zip(ids, found, strict=True)
        ]

    # ── companions ───────────────────────────────────────────────────────────

    @property
    def admin(self) -> BrokerAdmin:
        """What operators do with this store."""
        return RedisAdmin(self)

    @property
    def control(self) -> ControlChannel:
        """Fan-out to whoever listens at this server."""
        return RedisControl(self)

    @property
    def limits(self) -> LimitStore:
        """Limits shared by all who use the namespace."""
        return RedisLimits(self)

    @property
    def losses(self) -> Losses:
        """Is told of messages that vanished, and of a server that has lost its data."""
        return self._fetching.sweeper.losses

    def sibling(self) -> Self:
        """Return a second handle to the same store, for another loop or thread."""
        return type(self)(self.store, self._fetching.held)

    async def aclose(self) -> None:
        """Free the connections. Idempotent; leases are left to lapse."""
        if self._server is not None and self._loop is asyncio.get_running_loop():
            await self._fetching.stop()
        await super().aclose()


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True

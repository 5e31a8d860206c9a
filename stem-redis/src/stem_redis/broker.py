"""`RedisStreamsBroker`: the broker contract over Redis or Valkey."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, ClassVar, Final

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
    Fault,
    LimitStore,
    Located,
    Losses,
    Message,
    Nap,
    Published,
    PublishStatus,
    Settled,
    Settlement,
    StoreError,
    Support,
    replace,
    started,
    storable,
)
from stem_redis import publishing, settling
from stem_redis.admin import RedisAdmin
from stem_redis.connection import NOT_SENT, Arg, Line
from stem_redis.control import RedisControl
from stem_redis.diagnosis import diagnosed
from stem_redis.errors import WrongType
from stem_redis.handle import RedisHandle, Store
from stem_redis.limits import RedisLimits
from stem_redis.objections import (
    MAX_BATCH,
    MAX_BATCH_BYTES,
    MAX_DELAY_MS,
    MAX_PAYLOAD,
    refuse_too_much,
)
from stem_redis.packing import locate
from stem_redis.sweeping import Sweeper
from stem_redis.taking import Taken, read_taken
from stem_redis.wakes import Wakes

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

_FAREWELL_S: Final = 2.0
"""How long a cancelled fetch may take to hand back. A lease that is left behind lapses."""


class RedisStreamsBroker(RedisHandle, Broker):
    """A broker for many machines: every step is one script, fenced and by the server's clock.

    What an accepted message survives is what the server is set up for: see `capabilities`.
    """

    keeps_messages: ClassVar[bool] = True

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._wakes = Wakes(store.prefix)
        self._sweeper: Final = Sweeper(self)
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
        until_ms = self.store.clock.monotonic_ms() + wait_ms
        nap = Nap()
        self._wakes.note(nap, names)  # before the look: what comes after it ends the nap
        try:
            return await self._wait(nap, names, limit, until_ms, storable(worker))
        finally:
            self._wakes.forget(nap)

    async def _wait(
        self, nap: Nap, queues: Sequence[str], limit: int, until_ms: int, worker: str
    ) -> Sequence[Delivery]:
        clock, take = self.store.clock, self._take
        await self._sweeper.sweep()
        while True:
            asked_ms = clock.monotonic_ms()
            left_ms = max(0, until_ms - asked_ms)
            taken = await take(queues, limit, left_ms, worker)
            if taken.vanished or taken.damaged:
                self._sweeper.mourn(taken)
            if taken.deliveries or left_ms <= 0 or self.is_closed:
                return taken.deliveries
            await (
                self._sweeper.sweep()
            )  # here, and not between a wake and the look for what it is about
            if taken.cursors:
                await self._wakes.follow(self.enter(), taken.cursors)
                is_told = await nap.sleep(clock, asked_ms + min(left_ms, taken.look_again_ms))
                # Who slept had nothing to do, and is wanted at once.
                take = self._take_told if is_told else self._take_alone

    async def _take(self, queues: Sequence[str], limit: int, wait_ms: int, worker: str) -> Taken:
        """Look once. What is leased for a caller who has gone is handed back."""
        return await self._kept(queues, self.run("fetch", limit, wait_ms, worker, *queues))

    async def _take_alone(
        self, queues: Sequence[str], limit: int, wait_ms: int, worker: str
    ) -> Taken:
        """`_take` for a caller with nothing to do meanwhile."""
        reply = self._looked_here("fetch", queues, limit, wait_ms, worker)
        if reply is NOT_SENT:
            return await self._take(queues, limit, wait_ms, worker)
        return await self._taken_of(queues, reply)

    async def _take_told(
        self, queues: Sequence[str], limit: int, wait_ms: int, worker: str
    ) -> Taken:
        """`_take_alone` for one who was told of work: mostly there is nothing else to see to."""
        reply = self._looked_here("fetch_ready", queues, limit, wait_ms, worker)
        if reply is not NOT_SENT:
            taken = await self._taken_of(queues, reply)
            if taken.deliveries:
                return taken
        return await self._take_alone(queues, limit, wait_ms, worker)

    def _looked_here(
        self, script: str, queues: Sequence[str], limit: int, wait_ms: int, worker: str
    ) -> Any:
        """Return what *script* found, a `Line` that owes it, or `NOT_SENT`."""
        try:
            return self.run_here(script, limit, wait_ms, worker, *queues, is_idle=True)
        except WrongType:
            return NOT_SENT  # it did nothing, and says so again to one who finds out why

    async def _taken_of(self, queues: Sequence[str], reply: Any) -> Taken:
        if not isinstance(reply, Line):
            return read_taken(queues, reply)
        try:
            return await self._kept(queues, self.enter().rest_of(reply))
        except WrongType as error:
            raise await diagnosed(
                error, self.enter(), self.store.prefix, queues, self.homes
            ) from None
        except StoreError as error:
            if error.fault is not Fault.RELOAD:
                raise
            return Taken()  # the script was not known, which was said late: look again

    async def _kept(self, queues: Sequence[str], call: Coroutine[Any, Any, Any]) -> Taken:
        """Return what *call* takes, or if nobody waits for it any more, hand that back."""
        running = started(call)
        try:
            return read_taken(queues, await asyncio.shield(running))
        except asyncio.CancelledError:
            with suppress(StoreError, TimeoutError):
                async with asyncio.timeout(_FAREWELL_S):
                    await self._hand_back(read_taken(queues, await running).deliveries)
            raise

    async def _hand_back(self, deliveries: Sequence[Delivery]) -> None:
        if deliveries:
            await self.run("settle", *self.homes, *settling.hand_back_arguments(deliveries))

    async def extend(self, extensions: Sequence[Extension]) -> Sequence[Extended]:
        self.enter()
        if not extensions:
            return []
        reply = await self.run("extend", *settling.extend_arguments(extensions))
        return settling.extend_replies(extensions, reply)

    async def settle(self, settlements: Sequence[Settlement]) -> Sequence[Settled]:
        self.enter()
        if not settlements:
            return []
        settled: list[Settled] = []
        for start in range(0, len(settlements), _SETTLED_AT_ONCE):
            settled += await self._settle(settlements[start : start + _SETTLED_AT_ONCE])
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
        return self._sweeper.losses

    async def aclose(self) -> None:
        """Free the connections. Idempotent; leases are left to lapse."""
        if self._server is not None and self._loop is asyncio.get_running_loop():
            await self._wakes.stop()
        await super().aclose()


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True

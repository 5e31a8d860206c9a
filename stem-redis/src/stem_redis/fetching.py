"""`Broker.fetch`: looking for work, and waiting until there may be some.

Rule of this module: whatever is leased for a caller who has gone meanwhile is handed back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from typing import Any, Final

from attrs import field, frozen

from stem_core.plugin import SYSTEM_CLOCK, Delivery, Fault, Nap, StoreError, UsageError, started
from stem_redis import settling
from stem_redis.diagnosis import diagnosed
from stem_redis.errors import WrongType
from stem_redis.handle import RedisHandle
from stem_redis.line import NOT_SENT, Arg, Line, packed
from stem_redis.scripts import script
from stem_redis.standing import FAREWELL_S, Held, Standing
from stem_redis.sweeping import Sweeper
from stem_redis.taking import Taken, read_taken
from stem_redis.wakes import Wakes

__all__ = ["Fetching"]

_LATE_MS: Final = 500
"""Word of a lease that is older than this may be of one that is over."""

_SHORT_MS: Final = 20
"""Who sleeps no longer than this sleeps by his own clock."""


@frozen
class _Wish:
    """What one caller wants."""

    queues: Sequence[str]
    limit: int
    until_ms: int
    worker: str
    nap: Nap = field(factory=Nap)


class Fetching:
    """Fetches for the callers of one broker.

    Attributes:
        held: what they have taken.
        sweeper: sweeps when they have nothing better to do.
    """

    def __init__(self, handle: RedisHandle, held: Held) -> None:
        self.held: Final = held
        self.sweeper: Final = Sweeper(handle)
        self._handle: Final = handle
        self._wakes: Final = Wakes(handle.store.prefix)
        self._standing: Final = Standing(handle.store.prefix)

    async def fetch(
        self, queues: Sequence[str], *, limit: int, wait_ms: int, worker: str
    ) -> Sequence[Delivery]:
        """Return up to *limit* deliveries, as soon as there are some, or after *wait_ms*."""
        now_ms = self._handle.store.clock.monotonic_ms()
        wish = _Wish(queues, limit, now_ms + wait_ms, worker)
        self._wakes.note(wish.nap, queues)  # before the look: what comes after it ends the nap
        try:
            return await self._wait(wish)
        finally:
            self._wakes.forget(wish.nap)

    async def stop(self) -> None:
        """End the reads that go on."""
        await self._standing.stop()
        await self._wakes.stop()

    # ── looking, and sleeping in between ─────────────────────────────────────

    async def _wait(self, wish: _Wish) -> Sequence[Delivery]:
        clock = self._handle.store.clock
        await self.sweeper.sweep()
        sent_ms = clock.monotonic_ms()
        taken = await self._take(wish)
        ahead_ms = sent_ms - taken.at_ms if taken.at_ms else None
        while True:
            now_ms = clock.monotonic_ms()
            left_ms = wish.until_ms - now_ms
            if taken.vanished or taken.damaged:
                self.sweeper.mourn(taken)
            if taken.deliveries or left_ms <= 0 or self._handle.is_closed:
                self.held.note(taken.deliveries, now_ms)
                return taken.deliveries
            # Here, and not between a wake and the look for what it is about.
            await self.sweeper.sweep()
            if taken.cursors:
                taken = await self._take_later(wish, taken, now_ms, ahead_ms)
            else:
                taken = await self._take(wish)

    async def _take_later(
        self, wish: _Wish, before: Taken, asked_ms: int, ahead_ms: int | None
    ) -> Taken:
        """Look again when there is reason to: at a wake, when something is due, at the end.

        *ahead_ms*: by so much at least our clock is ahead of the server's, if that is known.
        """
        store = self._handle.store
        until_ms = min(wish.until_ms, asked_ms + before.look_again_ms)
        if ahead_ms is not None and self._may_stand(until_ms):
            self._wakes.leave_out(wish.nap)
            try:
                taken = await self._stood(wish, before, until_ms)
            finally:
                self._wakes.take_in(wish.nap)
            if taken is not None:
                return await self._unless_late(wish, taken, ahead_ms)
        await self._wakes.follow(self._handle.enter(), before.cursors)
        await wish.nap.sleep(store.clock, until_ms)
        return await self._take_alone(wish)  # who slept had nothing to do

    def _may_stand(self, until_ms: int) -> bool:
        """Decide whether a look may be left at the server; see `standing`."""
        clock = self._handle.store.clock
        now_ms = clock.monotonic_ms()
        return (
            not self.held.anything(now_ms)
            and self._standing.is_free
            and until_ms - now_ms > _SHORT_MS
            and clock is SYSTEM_CLOCK  # another one is not that of the server's read
        )

    async def _unless_late(self, wish: _Wish, taken: Taken, ahead_ms: int) -> Taken:
        """Return what a standing look has *taken*, if the word of it comes at once.

        This process may have stood still, or its loop: then the lease may have lapsed, and
        somebody else be at the task. So it is handed back, and looked for anew.
        """
        heard_ms = self._handle.store.clock.monotonic_ms()
        longest_ms = min([_LATE_MS, *(each.lease_ms for each in taken.deliveries)])
        if not taken.at_ms or heard_ms - taken.at_ms - ahead_ms <= longest_ms:
            return taken
        if taken.vanished or taken.damaged:
            self.sweeper.mourn(taken)
        await self._hand_back(taken.deliveries)
        return await self._take(wish)

    async def _stood(self, wish: _Wish, before: Taken, until_ms: int) -> Taken | None:
        """Return what a look found that stood at the server; None if it cannot stand there."""
        store, server = self._handle.store, self._handle.enter()
        lua = script("fetch", store.facts.reads_shebangs)
        asked: tuple[Arg, ...] = (1, self._left_ms(wish), wish.worker, *wish.queues)
        command = packed(lua, (store.prefix, store.instant(), *asked))

        async def back(reply: Any) -> None:
            if isinstance(reply, list):
                await self._hand_back(read_taken(wish.queues, reply).deliveries)

        try:
            reply = await self._standing.look(
                server, before.cursors, command, until_ms=until_ms, back=back
            )
        except WrongType as error:
            raise await self._found_out(error, wish) from None
        except (StoreError, UsageError):
            if self._handle.is_closed:  # meanwhile, and all its connections with it
                return Taken()
            raise
        return None if reply is NOT_SENT else read_taken(wish.queues, reply)

    # ── one look ─────────────────────────────────────────────────────────────

    async def _take(self, wish: _Wish) -> Taken:
        """Look once."""
        return await self._kept(wish, self._handle.run("fetch", *self._asked(wish)))

    async def _take_alone(self, wish: _Wish) -> Taken:
        """`_take` for a caller with nothing to do meanwhile."""
        try:
            reply = self._handle.run_here("fetch", *self._asked(wish), is_idle=True)
        except WrongType:
            reply = NOT_SENT  # it did nothing, and says so again to one who finds out why
        if reply is NOT_SENT:
            return await self._take(wish)
        if not isinstance(reply, Line):
            return read_taken(wish.queues, reply)
        try:
            return await self._kept(wish, self._handle.enter().rest_of(reply))
        except WrongType as error:
            raise await self._found_out(error, wish) from None
        except StoreError as error:
            if error.fault is not Fault.RELOAD:
                raise
            return Taken()  # the script was not known, which was said late: look again

    def _asked(self, wish: _Wish) -> tuple[int | str, ...]:
        return wish.limit, self._left_ms(wish), wish.worker, *wish.queues

    def _left_ms(self, wish: _Wish) -> int:
        return max(0, wish.until_ms - self._handle.store.clock.monotonic_ms())

    async def _found_out(self, error: WrongType, wish: _Wish) -> StoreError:
        handle = self._handle
        server, prefix = handle.enter(), handle.store.prefix
        return await diagnosed(error, server, prefix, wish.queues, handle.homes)

    async def _kept(self, wish: _Wish, call: Coroutine[Any, Any, Any]) -> Taken:
        """Return what *call* takes, or if nobody waits for it any more, hand that back."""
        running = started(call)
        try:
            return read_taken(wish.queues, await asyncio.shield(running))
        except asyncio.CancelledError:
            with suppress(StoreError, TimeoutError):
                async with asyncio.timeout(FAREWELL_S):
                    await self._hand_back(read_taken(wish.queues, await running).deliveries)
            raise

    async def _hand_back(self, deliveries: Sequence[Delivery]) -> None:
        if deliveries:
            handle = self._handle
            await handle.run("settle", *handle.homes, *settling.hand_back_arguments(deliveries))

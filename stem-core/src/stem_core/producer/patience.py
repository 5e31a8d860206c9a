"""Patience: a store that is away is asked again, until a deadline.

Rule of this module: it judges faults and waits between two tries; what is asked, and
whether it may be asked twice, is said by whoever asks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Final, NoReturn, TypeAlias, TypeVar

from attrs import frozen

from stem_core.contracts.clock import SYSTEM_CLOCK, SYSTEM_DICE, Clock, Dice
from stem_core.model.duration import format_ms
from stem_core.model.errors import Fault, StoreError, StoreUnavailable
from stem_core.producer.waiting import resumed

__all__ = ["PASSING", "UNDONE", "Asked", "Patience", "failed", "going_on"]

A = TypeVar("A")
T = TypeVar("T")
Asked: TypeAlias = Coroutine[Any, Any, T]

PASSING: Final = frozenset(
    {Fault.RECONNECT, Fault.BACKOFF, Fault.RETRY_TXN, Fault.RECREATE, Fault.RELOAD}
)
UNDONE: Final = PASSING - {Fault.RECONNECT}
"""Those after which it is certain that nothing was done."""
_FIRST_PAUSE_MS: Final = 50
_LONGEST_PAUSE_MS: Final = 1_000


@frozen(kw_only=True)
class Patience:
    """How long a store that is away is asked again.

    Attributes:
        deadline_ms: from the first try to the error.
        clock, dice: for the pauses between two tries.
    """

    deadline_ms: int = 10_000
    clock: Clock = SYSTEM_CLOCK
    dice: Dice = SYSTEM_DICE

    def until(self) -> float:
        """Return the deadline of what begins now, in the time of the loop that runs."""
        return asyncio.get_running_loop().time() + self.deadline_ms / 1000

    async def insist(
        self,
        ask: Callable[[A], Asked[T]],
        about: A,
        *,
        at: str,
        until: float | None = None,
        passing: frozenset[Fault] = PASSING,
    ) -> T:
        """Return what *ask* returns; ask again while the fault is among *passing*.

        *until* is the deadline of something larger that this is a part of; without it
        a new one begins.

        Raises:
            StoreUnavailable: nothing but passing faults, or no reply, until the deadline.
            StoreError: a fault that does not pass by itself.
        """
        call = ask(about)
        try:
            waits_for = call.send(None)
        except StopIteration as done:
            value: T = done.value
            return value
        except StoreError as error:
            asked: Asked[T] = failed(error)
        else:
            asked = going_on(call, waits_for)
        until = self.until() if until is None else until
        return await self.persist(asked, partial(ask, about), at, until, passing)

    async def persist(
        self,
        asked: Asked[T],
        ask: Callable[[], Asked[T]],
        at: str,
        until: float,
        passing: frozenset[Fault] = PASSING,
    ) -> T:
        """`insist` on a call whose first step is made."""
        seen: list[StoreError] = []
        try:
            async with asyncio.timeout_at(until):
                return await self._keep_asking(asked, ask, seen, passing)
        except TimeoutError:
            raise self.silence(at, seen) from (seen[-1] if seen else None)

    def silence(self, at: str, seen: Sequence[StoreError] = ()) -> StoreUnavailable:
        """Return the error of a deadline that is over; *seen* are the faults until then."""
        last = f": {seen[-1].message}" if seen else ""
        return StoreUnavailable(
            f"{at} did not answer within {format_ms(self.deadline_ms)}{last}",
            way_out="Is it running, and is its URL right? "
            "STEM_PUBLISH_DEADLINE says how long to try.",
        )

    async def _keep_asking(
        self,
        asked: Awaitable[T],
        ask: Callable[[], Asked[T]],
        seen: list[StoreError],
        passing: frozenset[Fault],
    ) -> T:
        while True:
            try:
                return await asked
            except StoreError as error:
                if error.fault not in passing:
                    raise
                seen.append(error)
            await self.pause(len(seen))
            asked = ask()

    async def pause(self, failures: int) -> None:
        """Wait before asking again a store that has failed so many times in a row."""
        # Full jitter: producers that lost one broker together do not return together.
        longest_ms = min(_LONGEST_PAUSE_MS, _FIRST_PAUSE_MS << min(failures, 10))
        await self.clock.sleep(1 + int(self.dice.roll() * longest_ms))


async def going_on(call: Asked[T], waits_for: Any) -> T:
    """Return what *call* returns, whose first step ended with waiting for *waits_for*."""
    value: T = await resumed(call, waits_for)
    return value


async def failed(error: StoreError) -> NoReturn:
    """Fail as a call whose first step raised *error*."""
    raise error

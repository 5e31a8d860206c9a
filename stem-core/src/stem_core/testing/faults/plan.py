"""Which call of a broker or a backend fails, and how. The decision, without the doing.

Calls are counted from 1, for each verb by itself, over all handles that share a plan.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Sequence
from copy import copy
from enum import Enum
from typing import Any, Final, TypeAlias

from attrs import field, frozen, validators

from stem_core.contracts.clock import Dice
from stem_core.model.errors import StoreError, StoreUnavailable

__all__ = [
    "EXECUTED_THEN_TIMEOUT", "TIMEOUT", "UNAVAILABLE", "FaultPlan", "FaultRule", "Fired", "How",
    "Mishap", "SeededDice", "Slow", "Verdict",
]  # fmt: skip

BROKER_VERBS: Final = ("publish", "fetch", "extend", "settle", "cancel", "lookup")
BACKEND_VERBS: Final = (
    "save", "load", "wait", "list", "progress", "progress_of", "reopen", "expire",
)  # fmt: skip


class Mishap(Enum):
    """A way to fail."""

    UNAVAILABLE = "unavailable"
    """The store cannot be reached: nothing was done, `StoreUnavailable`."""

    TIMEOUT = "timeout"
    """The request got lost: nothing was done, `StoreUnavailable`."""

    EXECUTED_THEN_TIMEOUT = "executed-then-timeout"
    """The reply got lost: all was done, and the caller gets the error of `TIMEOUT`."""


UNAVAILABLE: Final = Mishap.UNAVAILABLE
TIMEOUT: Final = Mishap.TIMEOUT
EXECUTED_THEN_TIMEOUT: Final = Mishap.EXECUTED_THEN_TIMEOUT


@frozen
class Slow:
    """A call that begins *ms* later than it was made, by the clock of the faulty handle."""

    ms: int = field(validator=validators.ge(0))


How: TypeAlias = Mishap | Slow | StoreError
"""A `StoreError` is raised as it is, before anything is done: `StoreFull`, say."""


def _a_verb(rule: object, attribute: object, verb: str) -> None:
    known = (*BROKER_VERBS, *BACKEND_VERBS)
    if verb not in known:
        raise ValueError(f"verb={verb!r} is none of {', '.join(known)}")


def _a_way(rule: object, attribute: object, how: Any) -> None:
    if not isinstance(how, How):
        raise ValueError(f"how={how!r}: give UNAVAILABLE or its kin, Slow(ms), or a StoreError")


def _from_one(rule: object, attribute: object, calls: Sequence[int]) -> None:
    if any(number < 1 for number in calls):
        raise ValueError(f"calls={calls!r}: calls are counted from 1")


def _a_chance(rule: object, attribute: object, chance: float) -> None:
    if not 0 < chance <= 1:
        raise ValueError(f"chance={chance!r}: above 0 and up to 1")


@frozen
class FaultRule:
    """Lets calls of *verb* go wrong.

    Attributes:
        verb: of `Broker` or `ResultBackend`.
        how: what happens.
        calls: which ones, counted from 1; empty for every one.
        chance: how likely each of them goes wrong, above 0 and up to 1.

    Raises:
        ValueError: names the field that is wrong.
    """

    verb: str = field(validator=_a_verb)
    how: How = field(validator=_a_way)
    calls: Sequence[int] = field(default=(), validator=_from_one, kw_only=True)
    chance: float = field(default=1.0, validator=_a_chance, kw_only=True)

    def fits(self, verb: str, number: int) -> bool:
        """Say whether this is about the *number*-th call of *verb*; chance not yet asked."""
        return verb == self.verb and (not self.calls or number in self.calls)


@frozen
class Fired:
    """A rule that has struck: the *number*-th call of *verb*."""

    verb: str
    number: int
    how: How


@frozen
class Verdict:
    """What one call meets, in this order.

    Attributes:
        delay_ms: before anything else.
        error: raised instead of the call, or with *is_executed* after it.
    """

    delay_ms: int = 0
    error: StoreError | None = None
    is_executed: bool = False


class FaultPlan:
    """Rules, and what has come of them. Safe to share between handles, loops and threads.

    Every rule that fits a call is applied: delays add up, and of the failures the one that
    stands first happens.

    Attributes:
        fired: what has struck so far. A test that ends without it has proved nothing.
    """

    def __init__(self, *rules: FaultRule, dice: Dice | None = None) -> None:
        """Begin with *rules*; *dice* are rolled for each that has a chance below 1.

        Raises:
            ValueError: such a rule is there, and no dice are.
        """
        self._dice = dice
        self._rules: list[FaultRule] = []
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()
        self.fired: list[Fired] = []
        self.add(*rules)

    def add(self, *rules: FaultRule) -> None:
        """Let *rules* hold, too, from the next call on."""
        if self._dice is None and any(rule.chance < 1 for rule in rules):
            raise ValueError("a rule with chance= needs dice=, such as dice=SeededDice(1)")
        with self._lock:
            self._rules = [*self._rules, *rules]

    def clear(self) -> None:
        """Let every call pass from now on. Calls are still counted."""
        with self._lock:
            self._rules = []

    def calls(self, verb: str) -> int:
        """Return how many calls of *verb* there were."""
        return self._counts[verb]

    def meet(self, verb: str) -> Verdict:
        """Count a call of *verb* and decide what it meets."""
        with self._lock:
            self._counts[verb] += 1
            number = self._counts[verb]
            fitting = [rule for rule in self._rules if rule.fits(verb, number)]
            hows = [rule.how for rule in fitting if self._strikes(rule)]
            self.fired += [Fired(verb, number, how) for how in _that_happen(hows)]
        return verdict(hows, f"call {number} of {verb}")

    def _strikes(self, rule: FaultRule) -> bool:
        return self._dice is None or rule.chance == 1 or self._dice.roll() < rule.chance


def _that_happen(hows: Sequence[How]) -> list[How]:
    failures = [how for how in hows if not isinstance(how, Slow)]
    return [how for how in hows if isinstance(how, Slow)] + failures[:1]


def verdict(hows: Sequence[How], call: str) -> Verdict:
    """Return what *call* meets of *hows*."""
    delay_ms, is_executed = 0, False
    error: StoreError | None = None
    for how in _that_happen(hows):
        match how:
            case Slow(ms):
                delay_ms += ms
            case Mishap.UNAVAILABLE:
                error = StoreUnavailable(f"{call}: the store cannot be reached, on purpose")
            case Mishap.TIMEOUT | Mishap.EXECUTED_THEN_TIMEOUT:
                error = StoreUnavailable(f"{call}: no reply in time, on purpose")
                is_executed = how is Mishap.EXECUTED_THEN_TIMEOUT
            case StoreError():
                error = copy(how)  # raised twice, one object would mix up two tracebacks
    return Verdict(delay_ms, error, is_executed)


class SeededDice:
    """Dice that roll the same again for the same *seed*."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def roll(self) -> float:
        """A number in [0, 1)."""
        return self._random.random()

    def bytes(self, count: int, /) -> bytes:
        """*count* bytes."""
        return self._random.randbytes(count)

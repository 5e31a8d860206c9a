"""What a supervisor of worker processes decides: whom to start and when, what to tell
them, and when to give up.

Rule of this module: it computes. It is told what happened and at what time, and answers
with orders; who starts, hears and signals processes is `supervisor`.
"""

from __future__ import annotations

import math
import signal
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from typing import Final, TypeAlias

from stem_core.model.value import Value
from stem_core.worker.exits import DRAINED, GAVE_UP, HANDED_BACK, MARGIN_MS, STUCK

__all__ = [
    "Await",
    "Crew",
    "GiveUp",
    "History",
    "Life",
    "Order",
    "Restart",
    "Start",
    "Tell",
    "Word",
    "ending",
    "merged",
    "pause_ms",
    "word_of",
]

_FIRST_PAUSE_MS: Final = 500
_LONGEST_PAUSE_MS: Final = 30_000

_LONG_LIFE_MS: Final = 60_000
"""What counts as a healthy life: twice the longest pause, and twice the usual visibility
timeout. A message that kills its process comes back when its lease has lapsed, so with
less than that the pauses would begin anew at each of its victims."""

_FALSE_STARTS: Final = 5
"""How often in a row each process may end before it works, until there is no hope."""

_REAP_MS: Final = 5_000
"""How long a killed process is waited for: one that hangs in the kernel dies when it can."""


class Word(Enum):
    """What a process is told."""

    DRAIN = "drain"
    HAND_BACK = "hand back"
    DIE = "die"


class Start(Value, frozen=True):
    """Start the process *slot*."""

    slot: int


class Restart(Value, frozen=True):
    """Say that *slot* starts again in *pause_ms*; its `Start` follows by itself."""

    slot: int
    pause_ms: int


class Tell(Value, frozen=True):
    """Tell the process *slot* something."""

    slot: int
    word: Word


class Await(Value, frozen=True):
    """Say that *slot* is started again when a file changes, and not before."""

    slot: int


class GiveUp(Value, frozen=True):
    """Say that nothing is started any more, and *why*."""

    code: int
    why: str


Order: TypeAlias = Start | Restart | Await | Tell | GiveUp


# ── one process after the other ──────────────────────────────────────────────


class Life(Value, frozen=True, kw_only=True):
    """How one process has lived: *ready_ms* is None if it never took work."""

    ready_ms: int | None
    ended_ms: int
    code: int

    @property
    def is_long(self) -> bool:
        """True for one that worked for a good while: whatever ended it is news."""
        return self.ready_ms is not None and self.ended_ms - self.ready_ms >= _LONG_LIFE_MS

    @property
    def code_when_told(self) -> int:
        """What its end counts as if it was told to end: one that never took work drained,
        whatever the signal found it at, unless it had to be killed."""
        has_nothing = self.ready_ms is None and self.code != -signal.SIGKILL
        return DRAINED if has_nothing else self.code


class History(Value, frozen=True, kw_only=True):
    """What is remembered of the processes of one slot.

    Attributes:
        lives: how many have ended.
        short: how many of the last ones, in a row, did not live long.
        false_starts: how many of the last ones, in a row, never took work.
    """

    lives: int = 0
    short: int = 0
    false_starts: int = 0

    def after(self, life: Life, *, is_excused: bool = False) -> History:
        """Return the history with *life* in it; an excused one is no false start."""
        is_false = life.ready_ms is None
        return History(
            lives=self.lives + 1,
            short=0 if life.is_long else self.short + 1,
            false_starts=self.false_starts + (not is_excused) if is_false else 0,
        )


def pause_ms(short: int, roll: float) -> int:
    """Return how long to wait after *short* short lives in a row.

    Half a second at most after a long life or the first short one, doubling up to half a
    minute; each with jitter over its upper half, so that processes that die together do
    not come back together.
    """
    doublings = min(max(0, short - 1), 10)
    ceiling_ms = min(_LONGEST_PAUSE_MS, _FIRST_PAUSE_MS * 2**doublings)
    return int(ceiling_ms * (0.5 + roll / 2))


def ending(code: int) -> str:
    """Return how a process ended, in words: a negative *code* is a signal."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:  # a real-time signal has no name
        return f"signal {-code}"


def merged(codes: Iterable[int]) -> int:
    """Return the exit code for processes that were told to end, and ended with *codes*."""
    found = set(codes)
    if STUCK in found or any(code < 0 for code in found):
        return STUCK
    others = found - {DRAINED, HANDED_BACK}
    return max(others) if others else max(found, default=DRAINED)


def word_of(count: int) -> Word:
    """Return what the signal number *count* asks for, counted from 1."""
    return (Word.DRAIN, Word.HAND_BACK, Word.DIE)[min(count, 3) - 1]


# ── all of them ──────────────────────────────────────────────────────────────


class _Slot:
    """The place of one process: who lives there, or when the next one starts."""

    def __init__(self, number: int) -> None:
        self.number: Final = number
        self.history = History()
        self.is_alive = False
        self.ready_ms: int | None = None
        self.grace_ms = 0
        self.starts_at_ms: float = math.inf
        self.dies_at_ms: float = math.inf
        self.is_killed = False
        self.is_replaced = False

    @property
    def wakes_at_ms(self) -> float:
        return self.dies_at_ms if self.is_alive else self.starts_at_ms

    @property
    def has_begun(self) -> bool:
        return self.is_alive or self.history.lives > 0

    @property
    def is_hopeful(self) -> bool:
        works = self.is_alive and self.ready_ms is not None
        return works or self.history.false_starts < _FALSE_STARTS

    def start(self) -> Start:
        self.is_alive = True
        self.ready_ms = None
        self.grace_ms = 0
        self.is_killed = self.is_replaced = False
        self.starts_at_ms = self.dies_at_ms = math.inf
        return Start(self.number)

    def tell(self, word: Word, now_ms: float) -> Tell:
        patience_ms = {
            Word.DRAIN: self.grace_ms + MARGIN_MS,
            Word.HAND_BACK: MARGIN_MS,
            Word.DIE: _REAP_MS,
        }
        self.dies_at_ms = min(self.dies_at_ms, now_ms + patience_ms[word])
        self.is_killed = self.is_killed or word is Word.DIE
        return Tell(self.number, word)


class Crew:
    """*size* processes that live as long as nobody stops them.

    Each verb is told the time and returns what is to be done; `wakes_at_ms` is when
    `passed` is to be called even if nothing happens. The first process starts alone: what
    is wrong with all of them is then told by one.

    Args:
        hopeless: exit codes of a process that will never start, whatever the time.
        outage: exit codes of one that could not start because a store is away. Once one
            has worked, this is waited for, however long it takes.
        roll: a number in [0, 1) at each call.
        reloads: somebody edits what they run: one that cannot start is started again by
            `changed`, and nothing is given up.
    """

    def __init__(
        self,
        size: int,
        *,
        hopeless: frozenset[int],
        outage: frozenset[int],
        roll: Callable[[], float],
        reloads: bool = False,
    ) -> None:
        self._reloads = reloads
        self._slots = {number: _Slot(number) for number in range(1, size + 1)}
        self._hopeless = hopeless
        self._outage = outage
        self._roll = roll
        self._has_worked = False
        self._wishes = 0
        self._endings: list[int] = []
        self._given_up: int | None = None

    @property
    def code(self) -> int | None:
        """The exit code of the worker, once it is over."""
        if not self.is_stopping or any(slot.is_alive for slot in self._slots.values()):
            return None
        return merged(self._endings) if self._given_up is None else self._given_up

    @property
    def wakes_at_ms(self) -> float:
        """When something is to be done although nothing happens."""
        return min(slot.wakes_at_ms for slot in self._slots.values())

    @property
    def is_stopping(self) -> bool:
        """True since it was told to end, or has given up."""
        return self._wishes > 0

    def expects(self, number: int) -> bool:
        """Say whether the process *number* was told to end, or has asked for it."""
        return self.is_stopping or self._slots[number].is_replaced

    def begin(self) -> Sequence[Order]:
        """The worker starts."""
        return [self._slots[1].start()]

    def ready(self, number: int, grace_ms: int, now_ms: int) -> Sequence[Order]:
        """The process *number* takes work; told to end it will need *grace_ms*."""
        slot = self._slots[number]
        slot.ready_ms, slot.grace_ms = now_ms, grace_ms
        if self.is_stopping:  # it may not have been there yet to be told
            return [self._again(slot, now_ms)]
        if self._has_worked:
            return []
        self._has_worked = True
        return [each.start() for each in self._slots.values() if not each.has_begun]

    def ended(self, number: int, code: int, now_ms: int) -> Sequence[Order]:
        """The process *number* ended: with *code*, or by the signal of a negative one."""
        slot = self._slots[number]
        slot.is_alive, slot.dies_at_ms = False, math.inf
        life = Life(ready_ms=slot.ready_ms, ended_ms=now_ms, code=code)
        if self.is_stopping:
            self._endings.append(life.code_when_told)
            return []
        if slot.is_replaced and (self._reloads or code in (DRAINED, HANDED_BACK)):
            return [slot.start()]
        if self._reloads and life.ready_ms is None:
            return [Await(number)]
        is_excused = self._has_worked and code in self._outage
        slot.history = slot.history.after(life, is_excused=is_excused)
        if (despair := self._despair(slot, life)) is not None:
            return self.give_up(despair, now_ms)
        pause = pause_ms(slot.history.short, self._roll())
        slot.starts_at_ms = now_ms + pause
        return [Restart(number, pause)]

    def replaces(self, number: int, now_ms: int) -> Sequence[Order]:
        """The process *number* has done enough and drains: another one takes its place, as
        soon as it has ended."""
        slot = self._slots[number]
        if slot.is_alive and not self.is_stopping:
            slot.is_replaced = True
            slot.dies_at_ms = min(slot.dies_at_ms, now_ms + slot.grace_ms + MARGIN_MS)
        return []

    def changed(self, now_ms: int) -> Sequence[Order]:
        """What they run has changed: each of them begins anew, at once."""
        if self.is_stopping:
            return []
        orders: list[Order] = []
        for slot in self._slots.values():
            if slot.is_alive and slot.ready_ms is not None:
                slot.is_replaced = True
                orders.append(slot.tell(Word.HAND_BACK, now_ms))
            elif slot.is_alive:  # it may have read the old files
                slot.is_replaced = True
                orders.append(slot.tell(Word.DIE, now_ms))
            elif slot.number == 1 or self._has_worked:
                orders.append(slot.start())
        return orders

    def give_up(self, despair: GiveUp, now_ms: int) -> Sequence[Order]:
        """End them all, because of *despair*."""
        self._given_up = despair.code
        return [despair, *self.signalled(now_ms)]

    def signalled(self, now_ms: int) -> Sequence[Order]:
        """Somebody wants the worker to end, or to end sooner."""
        self._wishes += 1
        return self._tell_all(word_of(self._wishes), now_ms)

    def passed(self, now_ms: int) -> Sequence[Order]:
        """It is *now_ms*: start whose pause is over, kill whose patience is at its end."""
        due = [slot for slot in self._slots.values() if slot.wakes_at_ms <= now_ms]
        orders: list[Order] = []
        for slot in due:
            if not slot.is_alive:
                orders.append(slot.start())
            elif slot.is_killed:  # nothing more can be done about it
                self.ended(slot.number, -signal.SIGKILL, now_ms)
            else:
                slot.dies_at_ms = math.inf
                orders.append(slot.tell(Word.DIE, now_ms))
        return orders

    def _again(self, slot: _Slot, now_ms: int) -> Tell:
        """Tell *slot* once more what all others were told."""
        if not slot.is_killed:
            slot.dies_at_ms = math.inf
        return slot.tell(word_of(self._wishes), now_ms)

    def _tell_all(self, word: Word, now_ms: int) -> Sequence[Order]:
        for slot in self._slots.values():
            slot.starts_at_ms = math.inf
        return [slot.tell(word, now_ms) for slot in self._slots.values() if slot.is_alive]

    def _despair(self, slot: _Slot, life: Life) -> GiveUp | None:
        """Say why no further start would help, if none would."""
        is_first = slot.history.lives == 1 and life.ready_ms is None
        if is_first and life.code in self._hopeless:
            return GiveUp(life.code, f"no restart would mend what ends it with {ending(life.code)}")
        if any(each.has_begun and each.is_hopeful for each in self._slots.values()):
            return None
        why = f"no process came up in {_FALSE_STARTS} tries in a row; the last one ended with "
        return GiveUp(life.code if life.code in self._outage else GAVE_UP, why + ending(life.code))

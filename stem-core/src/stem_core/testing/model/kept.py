"""What the model keeps: lives, ids that have ended, unique keys, turns and records.

Rule of this module: time is the attribute `now_ms`, which whoever uses the model sets.
Nothing is indexed and nothing is swept.
"""

from __future__ import annotations

from typing import Final

from stem_core.contracts.messages import Message, Place
from stem_core.model.outcome import Record
from stem_core.testing.model.life import Life, Stone
from stem_core.testing.model.line import IN_ORDER, Turn

__all__ = ["WAITING", "Kept"]

WAITING: Final = frozenset({Place.READY, Place.DELAYED, Place.PARKED})


class Kept:
    """The state of a broker and of the records that its steps save.

    Attributes:
        now_ms: the broker's clock.
        wall_offset_ms: what has to be added to it for the time since the epoch.
        slack_ms: two instants that lie no further apart may be taken for one.
        lives: every live and dead message by id.
        records: what is saved, by id. They are kept for longer than a run lasts.
        paused: the queues on hold.
    """

    def __init__(self, *, wall_offset_ms: int = 0, slack_ms: int = 0) -> None:
        self.now_ms = 0
        self.wall_offset_ms: Final = wall_offset_ms
        self.slack_ms: Final = slack_ms
        self.lives: Final[dict[str, Life]] = {}
        self.records: Final[dict[str, Record]] = {}
        self.paused: set[str] = set()
        self._stones: Final[dict[str, Stone]] = {}
        self._keys: Final[dict[str, tuple[str, int | None]]] = {}  # holder, and until when
        self._fences: Final[dict[str, int]] = {}  # the highest one of each id, ever
        self._turns = 0
        self._groups = IN_ORDER
        self._deaths = 0

    @property
    def wall_ms(self) -> int:
        """The wall clock's now."""
        return self.now_ms + self.wall_offset_ms

    def moments(self) -> list[int]:
        """Return every instant at which something changes by itself, past ones too."""
        lives = [life.due_ms for life in self.lives.values() if life.due_ms is not None]
        stones = [stone.until_ms for stone in self._stones.values()]
        keys = [until_ms for _, until_ms in self._keys.values() if until_ms is not None]
        return lives + stones + keys

    # ── ids ──────────────────────────────────────────────────────────────────

    def was_ever(self, id: str) -> bool:
        """True when *id* is known, or was."""
        return id in self.lives or id in self._stones

    def stone_of(self, id: str) -> Stone | None:
        """Return what is known of *id*, which has ended."""
        stone = self._stones.get(id)
        return stone if stone is not None and stone.until_ms > self.now_ms else None

    def body_of(self, id: str) -> bytes | None:
        """Return the body that *id* is known with; None when it is not known (any more)."""
        if id in self.lives:
            return self.lives[id].message.body
        stone = self.stone_of(id)
        return None if stone is None else stone.body

    def _end(self, life: Life) -> None:
        """Forget *life* but for its id. [SETTLE-4] [CANCEL-1]"""
        message = life.message
        del self.lives[message.id]
        self._free_key(message)
        until_ms = self.now_ms + message.dedupe_for_ms
        self._stones[message.id] = Stone(until_ms, message.body, tuple(life.settled))

    def count_from(self, id: str, base: int) -> None:
        """The store counts the leases of this life of *id* from *base*. [FETCH-5]"""
        assert self._fences.get(id, 0) <= base, (
            f"[FETCH-5] a lease of {id} is no. {base + 1}, and an earlier life had "
            f"no. {self._fences[id]}"
        )
        self.lives[id].base = base

    # ── unique keys ──────────────────────────────────────────────────────────

    def holder(self, key: str) -> str | None:
        """Return the id that holds *key*."""
        id, until_ms = self._keys.get(key, (None, None))
        return None if until_ms is not None and until_ms <= self.now_ms else id

    def _take_key(self, message: Message) -> None:
        unique = message.unique
        if unique is not None:
            is_window = unique.until == "window"
            until_ms = self.now_ms + unique.window_ms if is_window else None
            self._keys[unique.key] = (message.id, until_ms)

    def _free_key(self, message: Message) -> None:
        """Let go of its key, unless only time frees that or another message holds it."""
        if message.unique is not None and self._keys.get(message.unique.key) == (message.id, None):
            del self._keys[message.unique.key]

    # ── turns ────────────────────────────────────────────────────────────────

    def _new_group(self) -> int:
        self._groups += 1
        return self._groups

    def _turn_now(self) -> Turn:
        self._turns += 1
        return Turn(self.now_ms, self.now_ms, IN_ORDER, self._turns)

    def _turn_at(self, since_ms: int, until_ms: int, group: int) -> Turn:
        self._turns += 1
        return Turn(since_ms, until_ms, group, self._turns)

    def _wait(self, life: Life, place: Place, wait_ms: int, group: int) -> None:
        """Let *life* wait, delayed or parked; its turn is where it will be ready."""
        life.place = place
        life.due_ms = self.now_ms + wait_ms
        life.turn = self._turn_at(life.due_ms, life.due_ms, group)

    # ── records ──────────────────────────────────────────────────────────────

    def may_be_saved(self, record: Record) -> bool:
        """[SETTLE-8] [SAVE-2] [SAVE-3] It replaces what is there, or is there already."""
        old = self.records.get(record.id)
        return record == old or record.replaces(old)

    def save(self, record: Record) -> bool:
        """Save *record* if it may be, and say whether it is there."""
        may_be = self.may_be_saved(record)
        if may_be:
            self.records[record.id] = record
        return may_be

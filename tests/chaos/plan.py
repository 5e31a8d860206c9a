"""What a producer is to do, as words of a command line."""

from __future__ import annotations

from attrs import frozen

ENDLESS = 1_000_000
"""More than any trial waits for: such a producer is killed in the end."""


@frozen
class Plan:
    """What one producer does.

    Attributes:
        count: calls in all.
        together: how many of them in one enqueue.
        pace: calls a second; 0 for as fast as it goes.
        pauses_ms: how long tasks take; drawn from for each call.
        seed: of the dice that draw.
    """

    count: int
    together: int = 1
    pace: int = 0
    pauses_ms: tuple[int, ...] = (0,)
    seed: str = ""

    @property
    def words(self) -> list[str]:
        """The arguments that `read` understands."""
        pauses = ",".join(map(str, self.pauses_ms))
        return [str(self.count), str(self.together), str(self.pace), pauses, self.seed]

    @classmethod
    def read(cls, words: list[str]) -> Plan:
        """Read what `words` gives."""
        count, together, pace, pauses, seed = words
        return cls(int(count), int(together), int(pace), tuple(map(int, pauses.split(","))), seed)

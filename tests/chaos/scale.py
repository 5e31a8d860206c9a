"""How much is tried, and from which seed."""

from __future__ import annotations

import random
from collections.abc import Mapping

from attrs import frozen

SEED, TRIALS, PAGE = "STEM_CHAOS_SEED", "STEM_CHAOS_TRIALS", "STEM_CHAOS_PAGE"

_FEW = 2
MANY = 20
"""Trials of the figures that are published: 20 kills over 5,000 tasks."""

_TASKS_PER_TRIAL = 250
_TASKS_PER_SHORT_TRIAL = 120


@frozen
class Scale:
    """How much is tried. Everything follows from *trials*; all that is drawn, from *seed*."""

    seed: int
    trials: int = _FEW

    @classmethod
    def of(cls, wishes: Mapping[str, str]) -> Scale:
        """Return what *wishes* ask for: without any, few trials and whatever seed."""
        seed = wishes.get(SEED) or str(random.SystemRandom().randrange(1 << 32))
        return cls(int(seed), int(wishes.get(TRIALS) or _FEW))

    @property
    def tasks(self) -> int:
        """Tasks for all trials of one scenario together."""
        return self.trials * (_TASKS_PER_TRIAL if self.is_long else _TASKS_PER_SHORT_TRIAL)

    @property
    def rounds(self) -> int:
        """Trials of a scenario whose every trial takes seconds."""
        return self.trials if self.is_long else 1

    @property
    def is_long(self) -> bool:
        """True when figures are made that may be published."""
        return self.trials >= MANY

    @property
    def slack(self) -> int:
        """By how much a promised time is stretched: few trials share the machine with others."""
        return 1 if self.is_long else 3

    def dice(self, scenario: str) -> random.Random:
        """Return the dice of one scenario, the same whatever else runs."""
        return random.Random(f"{self.seed}:{scenario}")

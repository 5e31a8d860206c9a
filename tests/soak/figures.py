"""What the samples of a long run say: slopes, spans, and whether that is flat.

Rule of this module: it computes. A slope is Theil's and Sen's, the median of the slopes
between all pairs, for one sample that is far off must not decide; and a breach is one only
if the lower end of its 95 % interval is above the limit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median
from typing import Final

from attrs import frozen

__all__ = ["LIMITS", "Sample", "Verdict", "slope_of", "verdicts"]

_Z: Final = 1.96
RSS_PER_MILLION: Final = 2 << 20
_TREMOR: Final = 1 << 20
"""What an allocator may take without a leak: in a short run that is a steep slope."""

LIMITS: Final = {"descriptors": 2, "threads": 0, "asyncio tasks": 0}
"""By how much a count may differ between any two samples."""


@frozen(kw_only=True)
class Sample:
    """A process at rest, after so many *tasks*."""

    tasks: int
    rss: int
    descriptors: int
    threads: int
    asyncio_tasks: int
    objects: int


@frozen
class Verdict:
    """What was measured, in words, and whether it is a breach."""

    what: str
    measured: str
    limit: str
    is_breach: bool


def slope_of(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return the slope of *points*, at least two, and the lower end of its 95 % interval."""
    slopes = sorted(
        (y2 - y1) / (x2 - x1)
        for place, (x1, y1) in enumerate(points)
        for x2, y2 in points[place + 1 :]
    )
    count = len(points)
    spread = _Z * math.sqrt(count * (count - 1) * (2 * count + 5) / 18)
    lowest = max(0, int((len(slopes) - spread) / 2))
    return median(slopes), slopes[lowest]


def verdicts(samples: Sequence[Sample]) -> list[Verdict]:
    """Judge *samples*, in their order."""
    points = [(each.tasks / 1_000_000, float(each.rss)) for each in samples]
    slope, lowest = slope_of(points)
    grown = lowest * (points[-1][0] - points[0][0])
    memory = Verdict(
        "memory",
        f"{slope / 1e6:+.1f} MB a million tasks, at least {lowest / 1e6:+.1f}",
        f"{RSS_PER_MILLION / 1e6:.1f}",
        lowest > RSS_PER_MILLION and grown > _TREMOR,
    )
    return [memory, *(_span(name, samples, most) for name, most in LIMITS.items())]


def _span(name: str, samples: Sequence[Sample], most: int) -> Verdict:
    counts = [getattr(each, name.replace(" ", "_")) for each in samples]
    span = max(counts) - min(counts)
    return Verdict(name, f"{min(counts)} to {max(counts)}", f"a span of {most}", span > most)

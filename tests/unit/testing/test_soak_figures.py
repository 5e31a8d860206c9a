"""What counts as flat in a long run."""

from __future__ import annotations

import pytest
from soak.figures import Sample, slope_of, verdicts

MB = 1_000_000


def samples(*, per_million: float = 0, noise: float = 0, **counts: int) -> list[Sample]:
    """Fifty samples of 100 MB that grow, and waver by *noise*."""
    fixed = {"descriptors": 10, "threads": 4, "asyncio_tasks": 7, "objects": 1, **counts}
    return [
        Sample(
            tasks=4_000 * n,
            rss=int(100 * MB + per_million * 0.004 * n + (noise if n % 3 == 0 else 0)),
            **fixed,
        )
        for n in range(50)
    ]


def breaches(found: list[Sample]) -> list[str]:
    return [each.what for each in verdicts(found) if each.is_breach]


def test_a_slope_is_not_moved_by_one_sample_that_is_far_off() -> None:
    points = [(float(n), 2.0 * n) for n in range(20)]
    points[10] = (10.0, 1e9)
    slope, lowest = slope_of(points)
    assert slope == 2.0
    assert lowest <= 2.0


def test_what_wavers_is_flat_and_what_grows_is_not() -> None:
    assert breaches(samples(noise=3 * MB)) == []
    assert breaches(samples(per_million=1 * MB)) == []
    assert breaches(samples(per_million=10 * MB)) == ["memory"]
    assert breaches(samples(per_million=40 * MB, noise=1 * MB)) == ["memory"]
    assert breaches(samples(per_million=40 * MB)[:6]) == []  # 0.8 MB, in a short run


@pytest.mark.parametrize(
    ("field", "name", "by"),
    [
        ("descriptors", "descriptors", 3),
        ("threads", "threads", 1),
        ("asyncio_tasks", "asyncio tasks", 1),
    ],
)
def test_a_count_that_moves_is_a_breach(field: str, name: str, by: int) -> None:
    found = samples()
    first, *_, last = found
    more = samples(**{field: getattr(first, field) + by})[-1]
    assert breaches([*found[:-1], more]) == [name]
    assert breaches([*found[:-1], last]) == []

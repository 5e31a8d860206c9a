"""What one process says of its queues, and how seldom it asks for that."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from stem_core.cli.watching import Survey
from stem_core.contracts.admin import QueueStats
from stem_core.model.errors import StoreUnavailable
from stem_core.testing.clock import FakeClock


class Admin:
    """Knows one number, and counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.is_away = False

    async def stats(self, queues: Sequence[str] = ()) -> Sequence[QueueStats]:
        self.asked += 1
        await asyncio.sleep(0)
        if self.is_away:
            raise StoreUnavailable("redis://:hunter2@here is away")
        return [QueueStats(queue=each, ready=self.asked, oldest_ms=1_500) for each in queues]


def depths(survey: Survey) -> list[float]:
    rows = asyncio.run(survey.rows())
    return [row.numbers[0] for row in rows if row.labels == ("default", "ready")]


def a_survey(admin: Admin, clock: FakeClock) -> Survey:
    return Survey(admin, ("default", "low"), clock)  # type: ignore[arg-type]


def test_the_store_is_asked_every_five_seconds_at_most():
    admin, clock = Admin(), FakeClock()
    survey = a_survey(admin, clock)
    assert [depths(survey), depths(survey)] == [[1], [1]]
    clock.advance("4999ms")
    assert (depths(survey), admin.asked) == ([1], 1)
    clock.advance("1ms")
    assert (depths(survey), admin.asked) == ([2], 2)


def test_many_who_come_at_once_ask_once():
    admin = Admin()

    async def main() -> int:
        survey = a_survey(admin, FakeClock())
        answers = await asyncio.gather(*(survey.rows() for _ in range(50)))
        assert all(rows == answers[0] for rows in answers)
        return admin.asked

    assert asyncio.run(main()) == 1


def test_a_store_that_is_away_leaves_a_gap_and_no_old_number():
    admin, clock = Admin(), FakeClock()
    survey = a_survey(admin, clock)
    assert depths(survey) == [1]
    admin.is_away = True
    clock.advance("5s")
    assert depths(survey) == []
    admin.is_away = False
    clock.advance("5s")
    assert depths(survey) == [3]


def test_a_broker_without_a_view_for_operators_has_no_rows():
    assert asyncio.run(Survey(None, ("default",), FakeClock()).rows()) == []

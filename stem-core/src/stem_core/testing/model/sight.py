"""What can be seen of a store after a step, and whether it is what the model says."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from attrs import frozen

from stem_core.contracts.admin import LocatedPage, QueueStats
from stem_core.contracts.messages import Delivery, Extended, Located, Place
from stem_core.model.outcome import Record
from stem_core.model.value import replace
from stem_core.testing.contract.stage import Stage
from stem_core.testing.model.drafts import IDS, QUEUES
from stem_core.testing.model.life import Life
from stem_core.testing.model.reference import PURGED, Reference

__all__ = ["Sight", "agree", "look", "page_through", "shows_it_was_taken_up"]

_TIMES: Final[Mapping[type, tuple[str, ...]]] = {
    Delivery: ("parked_ms", "lease_ms"),
    Extended: ("remaining_ms",),
    Located: ("run_at_ms", "lease_ms", "died_at_ms"),
}
"""What two clocks may differ in."""


def agree(what: str, found: Any, expected: Any, *, slack_ms: int = 0) -> None:
    """Insist that the store has answered as the model; durations up to *slack_ms* apart."""
    if isinstance(expected, list):
        found = list(found)
        assert len(found) == len(expected), f"{what}: {len(found)} replies to {len(expected)}"
        found = [_levelled(f, e, slack_ms) for f, e in zip(found, expected, strict=True)]
    else:
        found = _levelled(found, expected, slack_ms)
    assert found == expected, f"{what}: the store says\n  {found}\nand the model\n  {expected}"


def _levelled(found: Any, expected: Any, slack_ms: int) -> Any:
    """Return *found* with the times of *expected* where they are hardly different."""
    if type(found) is not type(expected):
        return found
    times = {
        name: getattr(expected, name)
        for name in _TIMES.get(type(found), ())
        if abs(getattr(found, name) - getattr(expected, name)) <= slack_ms
    }
    return replace(found, **times) if times else found


@frozen
class Sight:
    """Everything that a store shows without moving.

    Attributes:
        places: by id; None for one that is neither live nor dead.
        records: by id, where settlements save them.
        stats: by queue, where there is an admin.
    """

    places: Mapping[str, Located | None]
    records: Mapping[str, Record | None]
    stats: Mapping[str, QueueStats]

    def compare(self, model: Reference) -> None:
        """Insist that *model* shows the same."""
        for id, found in self.places.items():
            expected = _settled_past(model.locate(id), model)
            agree(f"lookup {id}", _settled_past(found, model), expected, slack_ms=model.slack_ms)
        for id, record in self.records.items():
            _compare_records(id, record, model)
        for queue, stats in self.stats.items():
            _compare_stats(stats, model.stats(queue), model.overdue_in(queue))


def _settled_past(found: Located | None, model: Reference) -> Located | None:
    """Return *found* without a time that has come: nothing is promised of what it says then."""
    if found is None or not found.run_at_ms:
        return found
    is_past = found.run_at_ms <= model.wall_ms + model.slack_ms
    return replace(found, run_at_ms=0) if is_past else found


def _compare_records(id: str, found: Record | None, model: Reference) -> None:
    expected = model.records.get(id)
    if found is not None and expected is not None and expected.reason == PURGED:
        # What else an operator's record says is up to the store.
        fields = {name: getattr(expected, name) for name in ("state", "task", "queue", "fence")}
        model.records[id] = expected = replace(found, **fields, meta={})
    agree(f"the record of {id}", found, expected)


def _compare_stats(found: QueueStats, expected: QueueStats, overdue: int) -> None:
    """Insist on equal counts; what is due may be counted where it was, or as ready."""
    found = replace(found, oldest_ms=0)
    if overdue:
        assert _total(found) == _total(expected), f"stats: {found} is not {expected} in all"
        assert found.dead == expected.dead, f"stats: {found.dead} dead, not {expected.dead}"
    else:
        agree("stats", found, expected)


def _total(stats: QueueStats) -> int:
    return stats.ready + stats.delayed + stats.parked + stats.leased + stats.dead


def shows_it_was_taken_up(life: Life, found: Located | None) -> bool:
    """Decide whether the store has taken up that *life*, as it was before the step, is due."""
    if found is None:
        return False
    if life.place is Place.LEASED:  # settled meanwhile it shows no lapse any more
        return found.lapses > life.lapses
    return found.place is not life.place


async def look(stage: Stage) -> Sight:
    """Look at everything."""
    places = await stage.broker.lookup(IDS)
    records = await stage.results.load(IDS) if stage.is_atomic else ()
    stats: Sequence[QueueStats] = ()
    if stage.broker.admin is not None:
        stats = await stage.admin.stats(QUEUES)
    return Sight(
        dict(zip(IDS, places, strict=True)),
        dict(zip(IDS, records, strict=False)),
        {each.queue: each for each in stats},
    )


async def page_through(listing: Callable[..., Awaitable[LocatedPage]]) -> list[str]:
    """Return the ids of all pages of *listing*, which takes a cursor, in order."""
    page = await listing(cursor=None)
    ids = [each.message.id for each in page.items]
    while page.cursor is not None:
        page = await listing(cursor=page.cursor)
        ids += [each.message.id for each in page.items]
    return ids

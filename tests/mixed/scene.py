"""The scene that a release leaves behind in a store: something in every place a task can be in.

It is frozen once for each release, in `tests/golden/stores`, and every later one goes on with it.
"""

from __future__ import annotations

from typing import Any, Final

from mixed.sides import Side, until

__all__ = ["ENDED", "GOES_ON", "SECOND", "leave"]

SECOND: Final = "this"
"""The side for which the tasks wait."""

LONG: Final = {
    "STEM_RESULT_TTL": "36500d",
    "STEM_FAILURE_TTL": "36500d",
    "STEM_DEAD_LETTER_TTL": "3650d",
}
"""What has ended is to be found whenever the tests run; a dead letter lies ten years at most."""

ENDED: Final = ("succeeded", "cancelled", "dead")
"""Tasks that are over."""

GOES_ON: Final = ("stuck", "failing", "waiting", "urgent", "delayed", "unique", "held")
"""Tasks that somebody has to go on with; beside them the follow-up of the one that succeeded."""

_ASIDE: Final = {"queue": "aside"}
_MORE: Final = {"headers": {"trace": "a-1"}, "meta": {"for": "Zoë"}, "expires": 3_000_000_000}


def leave(side: Side) -> dict[str, Any]:
    """Let *side* leave the scene behind; return what it knows at last.

    That is what it reads of the tasks that are over, and the fence of the one that is leased.

    Its worker is killed: one task stays leased, and another one has failed and waits.
    """
    _end_some(side)
    side.enqueue(
        ("shop.stuck", {"side": SECOND}, {"task_id": "stuck"}),
        ("shop.picky", {"side": SECOND}, {"task_id": "failing"}),
    )
    with side.worker() as worker:
        until(lambda: _attempt(side, "failing") > 2, "third attempt")
        until(lambda: (side.read(["stuck"])["stuck"] or {}).get("progress"), "progress")
        worker.kill()
        worker.wait()
    side.enqueue(
        ("shop.work", {"n": 1}, {"task_id": "waiting", **_MORE}),
        ("shop.work", {"n": 2}, {"task_id": "urgent", "priority": 9}),
        ("shop.work", {"n": 3}, {"task_id": "delayed", "delay_ms": 5_000}),
        ("shop.work", {"n": 4}, {"task_id": "unique", "unique": True}),
        ("shop.work", {"n": 5}, {"task_id": "held", **_ASIDE}),
    )
    side.stem("queues", "pause", "aside")
    return {"ended": side.read(ENDED), "fence": side.starts("stuck")[-1][1]}


def _end_some(side: Side) -> None:
    side.enqueue(
        ("shop.parent", {"n": 6}, {"task_id": "succeeded", "meta": {"for": "Zoë"}}),
        ("shop.stuck", {"side": SECOND}, {"task_id": "cancelled"}),
        ("shop.reject", {"side": SECOND}, {"task_id": "dead"}),
    )
    with side.worker("--queues", "default"):
        until(lambda: (side.read(["cancelled"])["cancelled"] or {}).get("progress"), "progress")
        side.stem("jobs", "cancel", "cancelled")
        until(lambda: _are_over(side), "end of three tasks")


def _are_over(side: Side) -> bool:
    states = {id: (seen or {}).get("state") for id, seen in side.read(ENDED).items()}
    return all(id == state for id, state in states.items())


def _attempt(side: Side, id: str) -> int:
    return int((side.read([id])[id] or {}).get("attempt", 0))

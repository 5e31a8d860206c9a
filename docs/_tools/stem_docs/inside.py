"""Two pictures for the page on architecture: what a call goes through, and who is in a worker.

What has the name of a module in here is one: a test looks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from stem_docs.drawing import arrow, box, document, text
from stem_docs.way import steps

__all__ = ["MODULES", "crew", "rounds"]

MODULES: Final = {
    "producer": ("pipeline", "lane"),
    "worker": ("fetcher", "runner", "settler", "keeper", "watchdog", "supervisor", "threads"),
}
"""What both pictures name, by room."""


def rounds() -> str:
    """Return the picture of one call: out through the pipeline, over, and back."""
    about = (
        "A call goes through the pipeline and a lane to the broker. A runner fetches it under a "
        "lease, a keeper extends that, and the settlement goes back to the broker. The result is "
        "read from there."
    )
    parts = [*_out(), *_over(), *_in()]
    return document("rounds", (400, 380), "What a call goes through", parts, about=about)


def crew() -> str:
    """Return the picture of a worker: a supervisor, and who is in the process that it starts."""
    about = (
        "A supervisor starts worker processes. In each, a fetcher hands deliveries to a runner, "
        "and that to a settler; plain functions run in threads, isolated tasks in child "
        "processes. A keeper extends leases, and a watchdog watches the loop."
    )
    parts = [*_box(8, 8, 384, "supervisor", "loads no application"), *_process()]
    return document("crew", (400, 350), "Who is in a worker", parts, about=about)


def _box(x: float, y: float, width: float, name: str, words: str, kind: str = "") -> Iterator[str]:
    yield box(x, y, width, 50, kind)
    yield text(x + width / 2, y + 17, name, "name")
    yield text(x + width / 2, y + 35, words, "soft")


def _out() -> Iterator[str]:
    yield box(8, 8, 260, 36)
    yield text(138, 26, "await charge.enqueue(…)", "code")
    yield arrow("rounds", "M138 44 V66")
    yield from _box(8, 66, 260, "pipeline", "check · route · encode · sign")
    yield arrow("rounds", "M138 116 V138")
    yield from _box(8, 138, 260, "lane", "calls that come together go together")
    yield arrow("rounds", "M138 188 V232")
    yield text(146, 210, "publish", "soft", "start")


def _over() -> Iterator[str]:
    yield box(8, 232, 384, 36)
    yield text(200, 250, "broker", "name")
    yield box(284, 66, 108, 36)
    yield text(338, 84, "job.result()", "code")
    yield arrow("rounds", "M338 232 V102", "dashed")
    yield text(346, 167, "result", "soft", "start")


def _in() -> Iterator[str]:
    yield arrow("rounds", "M60 268 V320")
    yield text(68, 294, "fetch, under a lease", "soft", "start")
    yield arrow("rounds", "M216 320 V268")
    yield text(224, 294, "settle", "soft", "start")
    first, *_, last = steps()
    yield from _box(8, 320, 260, "runner", " · ".join(each for each in steps()[1:] if each != last))
    assert (first, last) == ("fetch", "settle")  # they stand on the arrows
    yield from _box(284, 320, 108, "keeper", "a thread")
    yield arrow("rounds", "M338 320 V268")
    yield text(346, 294, "extend", "soft", "start")


def _process() -> Iterator[str]:
    yield arrow("crew", "M200 58 V84")
    yield box(8, 84, 384, 258, "dashed")
    yield text(24, 102, "a worker process", "soft", "start")
    for x, name in ((24, "fetcher"), (146, "runner"), (268, "settler")):
        yield box(x, 120, 108, 36, "inner")
        yield text(x + 54, 138, name, "name")
    yield from (arrow("crew", f"M{x} 138 h14") for x in (132, 254))
    yield from (arrow("crew", f"M{x} 156 L{to} 194") for x, to in ((180, 108), (220, 292)))
    yield from _box(24, 194, 168, "threads", "plain functions", "inner")
    yield from _box(208, 194, 168, "child processes", "isolation=“process”", "inner")
    yield from _box(24, 274, 168, "keeper", "a thread: renews leases", "inner")
    yield from _box(208, 274, 168, "watchdog", "a thread: watches the loop", "inner")

"""One answer for several processes, whatever each of them says, and when."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence

from msgspec import json as msgspec_json
from prometheus_client.parser import text_string_to_metric_families

from stem_core.cli.gatherer import Gatherer
from stem_core.observe.families import Row
from stem_core.observe.health import Report


class Crew:
    """Processes that answer what a test says, once the one who asks waits for it."""

    def __init__(self, **counts: int) -> None:
        self.counts = {int(name.removeprefix("pid")): count for name, count in counts.items()}
        self.silent: set[int] = set()
        self.complaint = ""
        self.meanwhile: Callable[[], None] = lambda: None
        self.gatherer = Gatherer(self.ask)

    def ask(self, with_queues: bool) -> Sequence[int]:
        pids = list(self.counts)
        loop = asyncio.get_running_loop()
        for place, pid in enumerate(pids):
            if pid not in self.silent:
                loop.call_soon(self.says, pid, with_queues and place == 0)
        loop.call_soon(lambda: self.meanwhile())
        return pids

    def says(self, pid: int, has_queues: bool) -> None:
        rows = [
            Row("stem_tasks_total", ("pay", "default", "succeeded"), [self.counts[pid]]),
            Row("stem_worker_busy_slots", (), [1]),
        ]
        if has_queues:
            rows.append(Row("stem_queue_depth", ("default", "ready"), [50]))
        report = Report(rows=rows, complaint=self.complaint, has_queues=has_queues)
        self.gatherer.take(pid, msgspec_json.encode(report))

    def dies(self, pid: int) -> None:
        del self.counts[pid]
        self.gatherer.forget(pid)

    async def metrics(self) -> dict[str, float]:
        page = await self.gatherer.pages["/metrics"]()
        return {
            sample.name: sample.value
            for family in text_string_to_metric_families(page.body)
            for sample in family.samples
            if sample.name not in ("stem_build_info", "process_start_time_seconds")
        }

    async def ready(self) -> tuple[int, dict[str, object]]:
        page = await self.gatherer.pages["/readyz"]()
        return page.status.value, json.loads(page.body)


def test_counts_are_added_and_queues_are_told_once():
    crew = Crew(pid1=3, pid2=4)
    assert asyncio.run(crew.metrics()) == {
        "stem_tasks_total": 7,
        "stem_worker_busy_slots": 2,
        "stem_queue_depth": 50,
    }


def test_two_processes_that_say_the_same_are_two():
    crew = Crew(pid1=3, pid2=3)
    assert asyncio.run(crew.metrics())["stem_tasks_total"] == 6


def test_no_count_sinks_when_a_process_ends():
    async def main() -> None:
        crew = Crew(pid1=3, pid2=4)
        assert (await crew.metrics())["stem_tasks_total"] == 7
        crew.dies(2)
        assert (await crew.metrics())["stem_tasks_total"] == 7
        crew.counts[3] = 1  # in the place of the other
        assert (await crew.metrics())["stem_tasks_total"] == 8

    asyncio.run(main())


def test_one_that_ends_after_its_answer_is_counted_once():
    async def main() -> None:
        crew = Crew(pid1=3, pid2=4)
        crew.meanwhile = lambda: crew.dies(2) if 2 in crew.counts else None
        assert (await crew.metrics())["stem_tasks_total"] == 7

    asyncio.run(main())


def test_a_probe_does_not_take_away_what_prometheus_waits_for():
    async def main() -> None:
        crew = Crew(pid1=3)
        crew.silent = {1}
        asked = asyncio.ensure_future(crew.metrics())
        await asyncio.sleep(0)
        crew.says(1, False)
        await asyncio.sleep(0)
        assert not asked.done()
        crew.says(1, True)
        assert (await asked)["stem_queue_depth"] == 50

    asyncio.run(main())


def test_a_worker_is_ready_while_one_of_its_processes_is(monkeypatch):
    monkeypatch.setattr("stem_core.cli.gatherer._PROBE_S", 0.05)

    async def main() -> None:
        crew = Crew(pid1=3, pid2=4)
        assert await crew.ready() == (200, {"ready": True, "takes_work": 2, "processes": 2})
        crew.silent = {2}
        assert await crew.ready() == (200, {"ready": True, "takes_work": 1, "processes": 2})
        crew.complaint = "it drains"
        assert await crew.ready() == (
            503,
            {"ready": False, "reason": "it drains", "takes_work": 0, "processes": 2},
        )
        crew.silent = {1, 2}
        assert (await crew.ready())[1]["reason"] == "no process answers"
        crew.counts.clear()
        assert (await crew.ready())[1]["reason"] == "no process takes work yet"

    asyncio.run(main())


def test_a_process_that_is_silent_has_not_lost_what_it_has_counted(monkeypatch):
    monkeypatch.setattr("stem_core.cli.gatherer._PATIENCE_S", 0.05)

    async def main() -> None:
        crew = Crew(pid1=3, pid2=4)
        await crew.metrics()
        crew.silent = {2}
        assert await crew.metrics() == {
            "stem_tasks_total": 7,
            "stem_worker_busy_slots": 1,
            "stem_queue_depth": 50,
        }

    asyncio.run(main())

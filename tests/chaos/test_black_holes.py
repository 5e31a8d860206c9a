"""A worker that nobody answers any more: its process tasks are dead before others may run them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from chaos.arena import Arena
from chaos.beating import VISIBILITY_S, make, pulse_of, registry
from chaos.brokers import KINDS
from chaos.report import Row

from stem_core import Stem, Worker
from stem_core.plugin import StemURL
from stem_core.testing.faults.checker import Findings, complaints
from stem_core.testing.faults.proxy import FaultProxy

TOGETHER = 5
"""Tasks that run at one time; each is a trial."""

PATIENCE_S = 60


@pytest.mark.parametrize("store", ["redis", "postgres"])
def test_a_process_task_is_dead_before_its_lease_can_be_given_away(
    arena_of, scale, prove, tmp_path, store, monkeypatch
):
    monkeypatch.setenv("STEM_WORKER_CHILDREN", str(TOGETHER))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))  # where children find us
    with arena_of(f"A10-{store}", KINDS[f"-{store}"]) as arena:
        monkeypatch.setenv("STEM_BROKER_URL", arena.url)  # a child has none to ask
        pauses_ms: dict[str, float] = {}
        for number in range(scale.rounds):
            pauses_ms |= asyncio.run(one_round(arena, tmp_path / str(number)))
        ends = Counter(commit.id for commit in arena.ledger.commits() if commit.is_final)
    found = Findings(
        accepted=len(pauses_ms),
        lost=tuple(id for id in pauses_ms if not ends[id]),
        started_twice=tuple(pauses_ms),
        committed_twice=tuple(id for id in pauses_ms if ends[id] > 1),
        in_flight=len(pauses_ms),
    )
    overlaps = [pause_ms for pause_ms in pauses_ms.values() if pause_ms <= 0]
    told = [f"two runs at one time, for {-each:.0f} ms" for each in overlaps]
    prove(
        Row(
            id=f"A10-{store}",
            fault="the connection of a worker that runs process tasks swallows all, for good",
            broker=arena.broker,
            trials=len(pauses_ms),
            found=found,
            times_ms=tuple(pauses_ms.values()),
            timed="last beat of the first run to the first beat of the next",
            bound=f"started twice ≤ IN_FLIGHT in flight; two runs at one time: {len(overlaps)}",
            complaints=tuple(complaints(found) + told),
        )
    )


async def one_round(arena: Arena, folder: Path) -> dict[str, float]:
    """Cut one worker off while it runs tasks, let another one run them; return the pauses by id."""
    files = [folder.with_name(f"{folder.name}-{number}") for number in range(TOGETHER)]
    home = StemURL.parse(arena.url)
    async with asyncio.timeout(PATIENCE_S), AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(FaultProxy(port=home.hosts[0].port or 0))
        stem = await stack.enter_async_context(Stem(arena.url, registry=registry))
        behind = arena.url.replace(str(home.hosts[0]), proxy.netloc)
        far = await stack.enter_async_context(Stem(behind, registry=registry))
        first = Worker(far, app=make, concurrency=TOGETHER)
        await first.start()
        ids = [await stem.enqueue("beats", args={"file": str(file)}) for file in files]
        await until_all(files)
        proxy.black_hole()
        async with Worker(stem, app=make, concurrency=TOGETHER):
            pids = [await stem.result(id) for id in ids]
        proxy.restore()
        first.stop_now()
        await first.ended()
    return {id: pause_of(file, pid) for id, file, pid in zip(ids, files, pids, strict=True)}


async def until_all(files: Sequence[Path]) -> None:
    while not all(file.exists() for file in files):
        await asyncio.sleep(0.01)
    await asyncio.sleep(VISIBILITY_S)  # leases have been renewed since


def pause_of(file: Path, pid: int) -> float:
    """Return for how many milliseconds nobody ran the task of *file*, which *pid* has ended."""
    pulse = pulse_of(file)
    [before] = [beats for each, beats in pulse.items() if each != pid]
    return pulse[pid][0] - before[-1]

"""`enqueue_many` takes several calls, two of them under way at a time, and keeps its order."""

from __future__ import annotations

import asyncio
from itertools import count
from pathlib import Path

import pytest
from promises.stores import STORES, Store

from stem_core import Stem
from stem_core.model.settings import StemConfig

COUNTS = (501, 1_800)
"""Several calls of any broker; the last one may be for one message alone."""

_names = count()


async def _taken_in_order(config: StemConfig, size: int) -> list[int]:
    """Publish numbered calls at once; return the numbers in the order of service."""
    async with Stem(config=config) as stem:
        await stem.enqueue_many(stem.call("number", {"n": n}) for n in range(size))
        lane = await stem.lane()
        pipeline = stem._runtime.pipeline
        found: list[int] = []
        while batch := await lane.broker.fetch(["default"], limit=500, wait_ms=0, worker="w"):
            found += [pipeline.open_message(each.message).args["n"] for each in batch]
        return found


@pytest.mark.parametrize("store", STORES, ids=lambda store: store.name)
def test_calls_are_served_in_the_order_given(store: Store, tmp_path: Path) -> None:
    with store.running() as url:
        broker = f"sqlite:///{tmp_path}/tasks.db" if store.name == "sqlite" else url
        for size in COUNTS:
            config = StemConfig.from_environment(
                {"STEM_BROKER_URL": broker, "STEM_NAMESPACE": f"order-{next(_names)}"}
            )
            assert asyncio.run(_taken_in_order(config, size)) == list(range(size))

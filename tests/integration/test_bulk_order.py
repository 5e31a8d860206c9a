"""`enqueue_many` takes several calls, two of them under way at a time, and keeps its order."""

from __future__ import annotations

import asyncio
from itertools import count
from pathlib import Path

import pytest
from promises.stores import STORES, Store

from stem_core import Stem
from stem_core.model.settings import StemConfig

_COUNT = 1_800  # several calls of any broker
_names = count()


async def _taken_in_order(config: StemConfig) -> list[int]:
    """Publish numbered calls at once; return the numbers in the order of service."""
    async with Stem(config=config) as stem:
        await stem.enqueue_many(stem.call("number", {"n": n}) for n in range(_COUNT))
        lane = await stem.lane()
        pipeline = stem._runtime.pipeline
        found: list[int] = []
        while batch := await lane.broker.fetch(["default"], limit=500, wait_ms=0, worker="w"):
            found += [pipeline.open_message(each.message).args["n"] for each in batch]
        return found


@pytest.mark.parametrize("store", STORES, ids=lambda store: store.name)
def test_calls_are_served_in_the_order_given(store: Store, tmp_path: Path) -> None:
    with store.running() as url:
        config = StemConfig.from_environment(
            {
                "STEM_BROKER_URL": f"sqlite:///{tmp_path}/tasks.db"
                if store.name == "sqlite"
                else url,
                "STEM_NAMESPACE": f"order-{next(_names)}",
            }
        )
        assert asyncio.run(_taken_in_order(config)) == list(range(_COUNT))

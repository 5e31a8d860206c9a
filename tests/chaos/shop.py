"""An application of one task: python -m chaos.shop produce|work."""

from __future__ import annotations

import asyncio
import os
import sys

from chaos.leash import on_a_leash

from stem_core import Stem, Worker
from stem_core.contracts.observer import Event

URL, BACKEND, DIARY = "SHOP_URL", "SHOP_BACKEND", "SHOP_DIARY"
ID = "m0"


def note(*words: object) -> None:
    """Write a line into the diary."""
    with open(os.environ[DIARY], "a", encoding="utf-8") as diary:
        print(*words, file=diary)


class Losses:
    """Notes what the store says to a settlement that comes too late."""

    def on_event(self, event: Event, /) -> None:
        """Hear of *event*."""
        if event.name == "lease-lost":
            note("lost", event.detail.get("settle", "while it ran"))


async def sell(id: str) -> str:
    """Note which one ran."""
    note("ran", id)
    return id


async def main(what: str) -> None:
    """Enqueue the task, or work until this process is ended."""
    async with Stem(os.environ[URL], backend=os.environ[BACKEND]) as stem:
        task = stem.task(name="shop.sell", visibility_timeout=1)(sell)
        if what == "produce":
            await task.using(task_id=ID).enqueue(ID)
        else:
            async with Worker(stem, observers=[Losses()]):
                await asyncio.Event().wait()


if __name__ == "__main__":
    if sys.argv[1] == "work":
        on_a_leash()
    asyncio.run(main(sys.argv[1]))

"""From a cold process to a first finished task on Stem's memory://."""

import asyncio
import os
import time

from stem_core import Stem, Worker

stem = Stem(broker="memory://")


@stem.task
async def hello(name: str) -> str:
    return f"Hello, {name}!"


async def main() -> None:
    async with Worker(stem):
        job = await hello.enqueue("Stem")
        assert await job.result(timeout=10) == "Hello, Stem!"
        print(time.time() - float(os.environ["STARTED_AT"]))


asyncio.run(main())

"""From a cold process to a first finished task on taskiq's InMemoryBroker."""

import asyncio
import os
import time

from taskiq import InMemoryBroker

broker = InMemoryBroker()


@broker.task
async def hello(name: str) -> str:
    return f"Hello, {name}!"


async def main() -> None:
    job = await hello.kiq("taskiq")
    result = await job.wait_result(timeout=10, check_interval=0.001)
    assert result.return_value == "Hello, taskiq!"
    print(time.time() - float(os.environ["STARTED_AT"]))


asyncio.run(main())

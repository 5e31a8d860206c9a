"""The limit on this machine: what nothing but a coroutine step, or nothing but a codec, costs."""

from __future__ import annotations

import asyncio
from collections import deque

import msgspec
from measure import ARGS, Figures, arguments


async def nothing(customer: str, amount: int) -> None:
    """Do nothing."""


async def throughput(count: int) -> None:
    figures = Figures()
    encoder, decoder = msgspec.json.Encoder(), msgspec.json.Decoder()
    queue: deque[bytes] = deque()
    with figures.rate("enqueue_per_s", count):
        for n in range(count):
            queue.append(
                encoder.encode({"id": str(n), "args": {"customer": ARGS[0], "amount": ARGS[1]}})
            )
    with figures.rate("drain_per_s", count):
        while queue:
            batch = [queue.popleft() for _ in range(min(100, len(queue)))]
            await asyncio.gather(
                *(asyncio.create_task(nothing(**decoder.decode(body)["args"])) for body in batch)
            )
    figures.show()


if __name__ == "__main__":
    _, count = arguments()
    asyncio.run(throughput(count))

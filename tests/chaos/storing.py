"""A program that uses a store: python -m chaos.storing URL alone|batch|settle."""

from __future__ import annotations

import asyncio
import itertools
import sys

from chaos.shop import note

from stem_core.contracts.messages import Message, Settlement
from stem_core.embedded.sqlite.broker import SqliteBroker
from stem_core.model.outcome import Record, State

LEASE_MS = 600


def message(id: str) -> Message:
    """Return a message whose lease lapses soon."""
    return Message(id=id, queue="q", task="t", body=b"1", lease_ms=LEASE_MS)


async def publish_alone(broker: SqliteBroker) -> None:
    """Publish one message after the other for ever, and write down which are there.

    A store has a short way for those, and takes it when the disk has just been quick.
    """
    for n in itertools.count():
        await broker.publish([message(f"m{n}")])
        note(f"m{n}")


async def settle(broker: SqliteBroker) -> None:
    """Take both and settle the first, with a result and a follow-up."""
    [first, _] = await broker.fetch(["q"], limit=2, wait_ms=0, worker="w")
    record = Record(id="m0", state=State.SUCCEEDED, fence=first.receipt.fence, value=b"1")
    end = Settlement(receipt=first.receipt, record=record, follow_ups=(message("f"),))
    await broker.settle([end])


async def main(url: str, what: str) -> None:
    """Do *what*."""
    broker = await SqliteBroker.connect(url)
    if what == "alone":
        await publish_alone(broker)
    await broker.publish([message("m0"), message("m1")])
    if what == "settle":
        await settle(broker)
    await broker.aclose()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

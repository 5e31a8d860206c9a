"""A program that uses a store: python -m chaos.storing URL WHAT.

WHAT is alone, batch, cancel, extend, settle or sweep.
"""

from __future__ import annotations

import asyncio
import itertools
import sys

from chaos.shop import note

from stem_core.contracts.messages import Cancellation, Extension, Message, Settlement
from stem_core.embedded.sqlite.broker import SqliteBroker
from stem_core.model.outcome import Record, State

LEASE_MS = 600
KNOWN_FOR_MS = 100


def message(id: str) -> Message:
    """Return a message whose lease lapses soon, and whose id is known for a moment."""
    return Message(
        id=id, queue="q", task="t", body=b"1", lease_ms=LEASE_MS, dedupe_for_ms=KNOWN_FOR_MS
    )


async def publish_alone(broker: SqliteBroker) -> None:
    """Publish one message after the other for ever, and write down which are there.

    A store has a short way for those, and takes it when the disk has just been quick; here it
    is, however long the disk takes.
    """
    for n in itertools.count():
        broker.store.is_quick = n > 0
        await broker.publish([message(f"m{n}")])
        note(f"m{n}")


async def settle(broker: SqliteBroker) -> None:
    """Take both and settle the first, with a result and a follow-up."""
    [first, _] = await broker.fetch(["q"], limit=2, wait_ms=0, worker="w")
    record = Record(id="m0", state=State.SUCCEEDED, fence=first.receipt.fence, value=b"1")
    end = Settlement(receipt=first.receipt, record=record, follow_ups=(message("f"),))
    await broker.settle([end])


async def extend(broker: SqliteBroker) -> None:
    """Take both and hold the first for an hour."""
    [first, _] = await broker.fetch(["q"], limit=2, wait_ms=0, worker="w")
    await broker.extend([Extension(first.receipt, 3_600_000)])


async def cancel(broker: SqliteBroker) -> None:
    """Cancel both, each with its record."""
    wishes = [Record(id=id, state=State.CANCELLED) for id in ("m0", "m1")]
    await broker.cancel([Cancellation(id=wish.id, record=wish) for wish in wishes])


async def sweep(broker: SqliteBroker) -> None:
    """End the first for good, and publish others until its id is swept away."""
    [first] = await broker.fetch(["q"], limit=1, wait_ms=0, worker="w")
    await broker.settle([Settlement(receipt=first.receipt)])
    for n in itertools.count():
        await asyncio.sleep(KNOWN_FOR_MS / 1000)
        await broker.publish([message(f"s{n}-{each}") for each in (0, 1)])
        note(f"s{n}")


USES = {"extend": extend, "cancel": cancel, "settle": settle, "sweep": sweep}
"""What is done to two messages that are there."""


async def main(url: str, what: str) -> None:
    """Do *what*."""
    broker = await SqliteBroker.connect(url)
    if what == "alone":
        await publish_alone(broker)
    await broker.publish([message("m0"), message("m1")])
    if what in USES:
        await USES[what](broker)
    await broker.aclose()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

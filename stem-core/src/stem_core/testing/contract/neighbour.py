"""The second process of a contract test: ``python -m stem_core.testing.contract.neighbour``.

It reads one JSON object from standard input, opens the stores that it names, does one
thing to them, and prints one line when it is done.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from attrs import asdict

from stem_core.model.outcome import State
from stem_core.testing.contract.opening import open_address
from stem_core.testing.contract.stage import Address, Stage
from stem_core.testing.contract.values import end, ended, message, record

__all__ = ["Deed", "neighbour"]

_PATIENCE_S: Final = 30


async def _publish(stage: Stage, id: str) -> None:
    await stage.publish(message(id))


async def _save(stage: Stage, id: str) -> None:
    await stage.results.save([record(id, State.SUCCEEDED, fence=1, value=b'"from there"')])


async def _run(stage: Stage, id: str) -> None:
    """Take what is ready, settle it with a record, and say so."""
    for delivery in await stage.broker.fetch(["q"], limit=1, wait_ms=10_000, worker="there"):
        assert delivery.message.id == id
        await stage.settle(end(delivery, record=ended(delivery, value=b'"from there"')))


Deed = Callable[[Stage, str], Awaitable[None]]
_DEEDS: Final[Mapping[str, Deed]] = {"publish": _publish, "save": _save, "run": _run}


async def neighbour(stage: Stage, deed: str, id: str) -> None:
    """Let another process do *deed* to the task *id* at the address of *stage*."""
    assert stage.address is not None
    order = json.dumps({"deed": deed, "id": id, "address": asdict(stage.address)})
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        __name__,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        told, _ = await asyncio.wait_for(process.communicate(order.encode()), _PATIENCE_S)
    except BaseException:
        process.kill()
        await process.wait()
        raise
    assert process.returncode == 0, f"the second process failed:\n{told.decode(errors='replace')}"


async def _obey(order: Mapping[str, str], address: Address) -> None:
    stage = await open_address(address)
    try:
        await _DEEDS[order["deed"]](stage, order["id"])
    finally:
        await stage.aclose()


def main() -> None:
    """Do what standard input says."""
    order = json.load(sys.stdin)
    asyncio.run(_obey(order, Address(**order["address"])))


if __name__ == "__main__":
    main()

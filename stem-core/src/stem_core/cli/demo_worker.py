"""One worker process of `stem demo`: started afresh, and gone as soon as the demo is.

    STEM_DEMO_BROKER=URL python -m stem_core.cli.demo_worker NAME CONCURRENCY

It says `READY` on standard output once it takes work. Standard input says nothing: its end
is the end of the demo, however that came.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Sequence
from typing import Final

from stem_core.cli.demo_place import BROKER
from stem_core.cli.demo_tasks import QUEUE, tasks
from stem_core.model.settings import StemConfig
from stem_core.producer.client import Stem
from stem_core.worker.worker import Worker

__all__ = ["READY", "main"]

READY: Final = "ready"


def main(arguments: Sequence[str]) -> int:
    """Run a worker until the demo has gone."""
    name, concurrency = arguments
    threading.Thread(target=_end_with_the_demo, name="demo-end", daemon=True).start()
    return asyncio.run(_work(os.environ[BROKER], name, int(concurrency)))


async def _work(url: str, name: str, concurrency: int) -> int:
    config = StemConfig.from_environment(require_broker=False)
    async with Stem(broker=url, registry=tasks, config=config) as stem:
        worker = Worker(
            stem, queues=[QUEUE], concurrency=concurrency, threads=concurrency, name=name
        )
        await worker.start()
        print(READY, flush=True)
        return await worker.ended()


def _end_with_the_demo() -> None:
    # Not through sys.stdin: Python cannot exit while a thread waits inside of it.
    while os.read(0, 1):
        pass
    os._exit(0)  # now, whatever runs: nobody is there any more to whom it would matter


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""A worker of one process, and the service manager that may have started it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from stem_core.observe.health import complaint
from stem_core.worker.service import Service
from stem_core.worker.worker import Worker

__all__ = ["managed"]

_LOOK_S = 1.0


@asynccontextmanager
async def managed(worker: Worker) -> AsyncIterator[None]:
    """Tell the service manager of this process, if there is one, how *worker* is meanwhile."""
    service = Service.of(os.environ)
    if service is None:
        yield
        return
    service.ready(f"{worker.name} takes work")
    telling = asyncio.create_task(_tell(service, worker))
    try:
        yield
    finally:
        service.stopping()
        telling.cancel()


async def _tell(service: Service, worker: Worker) -> None:
    pause_s = min(_LOOK_S, service.period_ms / 1000 or _LOOK_S)
    while True:
        if worker.vitals.is_draining:
            service.stopping()
        service.answered(complaint(worker.vitals))
        await asyncio.sleep(pause_s)

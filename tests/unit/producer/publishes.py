"""Messages to publish, and calls that are begun one behind the other."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from stem_core.contracts.messages import Message, Published


def message(name: str, size: int = 2) -> Message:
    return Message(id=name, queue="q", task="t", body=b"x" * size)


def messages(count: int) -> list[Message]:
    return [message(f"m{number}") for number in range(count)]


async def started(*calls: Coroutine[Any, Any, Published]) -> list[asyncio.Task[Published]]:
    """Start calls, one behind the other, and let each run until it waits."""
    tasks = []
    for call in calls:
        tasks.append(asyncio.ensure_future(call))
        await asyncio.sleep(0)
    return tasks

"""What a producer or a reader of one release does, as a program: one JSON document in and out.

    python ask.py enqueue '[["shop.work", {"n": 1}, {"task_id": "a"}]]'
    python ask.py read '["a"]'

It is run by each release in turn, so it uses nothing that the earlier one lacks.
"""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import timedelta
from typing import Any

from shop import stem  # type: ignore[import-not-found] # it lies beside this file where it is run


async def enqueue(calls: list[Any]) -> list[str]:
    """Enqueue each name with its arguments and options; return the ids."""
    made = []
    for name, args, options in calls:
        given = dict(options)
        if "delay_ms" in given:
            given["delay"] = timedelta(milliseconds=given.pop("delay_ms"))
        task = stem.registry.get(name)
        assert task is not None, name
        made.append(task.using(**given).call(**args))
    return [job.id for job in await stem.enqueue_many(made)]


async def read(ids: list[str]) -> dict[str, Any]:
    """Return what is known of each of *ids*; null for one that nobody knows."""
    return {id: shown(await stem.status(id)) for id in ids}


def shown(status: Any) -> dict[str, Any] | None:
    """Return of *status* what a test compares."""
    if status is None:
        return None
    kept = {name: getattr(status, name) for name in ("attempt", "value", "progress", "reason")}
    return {"state": status.state.value, **kept}


async def main() -> None:
    """Answer the one question of the command line."""
    question, document = sys.argv[1], json.loads(sys.argv[2])
    async with stem:
        answer = await {"enqueue": enqueue, "read": read}[question](document)
    print(json.dumps(answer))


asyncio.run(main())

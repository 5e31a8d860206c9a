from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from unit.producer.shop import charge, tasks
from unit.producer.stores import fresh_name

from stem_core.producer.client import Stem


@pytest.fixture(autouse=True)
def only_our_own_complaint() -> Any:
    # Python's own warning comes beside ours; what is proven here is ours.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        yield


def forget_a_task(stem: Stem) -> None:
    charge.enqueue("ada")  # type: ignore[unused-coroutine]


def forget_a_name(stem: Stem) -> None:
    stem.enqueue("a")  # type: ignore[unused-coroutine]


def forget_many(stem: Stem) -> None:
    stem.enqueue_many([])  # type: ignore[unused-coroutine]


@pytest.mark.parametrize("forget", [forget_a_task, forget_a_name, forget_many])
def test_a_call_that_nobody_awaits_is_logged_with_the_line_that_made_it(
    forget: Callable[[Stem], None], caplog: pytest.LogCaptureFixture
) -> None:
    stem = Stem(f"memory://{fresh_name()}")
    stem.include(tasks)
    forget(stem)
    gc.collect()
    [told] = [each for each in caplog.messages if "never awaited" in each]
    line = forget.__code__.co_firstlineno + 1
    assert f"{__file__}:{line} in {forget.__name__}" in told


def test_a_call_that_is_awaited_or_made_a_task_says_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        stem = Stem(f"memory://{fresh_name()}")
        await stem.enqueue("a")
        await asyncio.create_task(stem.enqueue("a"))
        await asyncio.gather(stem.enqueue("a"), stem.enqueue("a"))
        await asyncio.wait_for(stem.enqueue("a"), 5)

    asyncio.run(main())
    gc.collect()
    assert not [each for each in caplog.messages if "never awaited" in each]

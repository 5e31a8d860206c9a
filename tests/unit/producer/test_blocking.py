from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar

import pytest
from unit.producer.shop import charge, tasks
from unit.producer.stores import Connection, Transactional, Willful, fresh_name

from stem_core.contracts.messages import CancelStatus, Message, Published, Settlement
from stem_core.model.errors import (
    InvalidArguments,
    PublishRefused,
    ResultTimeout,
    TaskCancelled,
    UseAwait,
)
from stem_core.model.outcome import Record, State
from stem_core.producer import blocking
from stem_core.producer.client import Stem
from stem_core.producer.job import BlockingJob


def shop_stem() -> Stem:
    stem = Stem(f"memory://{fresh_name()}")
    stem.include(tasks)
    return stem


def finish(stem: Stem, value: bytes) -> None:
    """Take the next task and settle it with *value*, as a worker does."""

    async def main() -> None:
        broker = (await stem.lane()).broker
        [delivery] = await broker.fetch(["billing", "default"], limit=1, wait_ms=0, worker="w")
        record = Record(
            id=delivery.message.id,
            state=State.SUCCEEDED,
            fence=delivery.receipt.fence,
            value=value,
        )
        await broker.settle([Settlement(receipt=delivery.receipt, record=record)])

    asyncio.run(main())


def test_every_verb_has_a_twin_that_waits() -> None:
    stem = shop_stem()
    job = charge.blocking.enqueue("ada", amount=3)
    status = job.status()
    assert status is not None
    assert (status.state, job.created) == (State.QUEUED, True)
    with pytest.raises(ResultTimeout):
        job.result(timeout=0.01)
    finish(stem, b'"paid"')
    assert job.result(timeout=5) == "paid"
    by_name = stem.blocking.enqueue("a", {"x": 1}, meta={"m": 1}, delay="1h")
    assert stem.blocking.cancel(by_name, "no more") is CancelStatus.CANCELLED
    with pytest.raises(TaskCancelled, match="no more"):
        stem.blocking.result(by_name, timeout=5)
    jobs = stem.blocking.enqueue_many([charge.call("a"), stem.call("b")])
    assert [stem.blocking.job(each.id).cancel() for each in jobs] == [CancelStatus.CANCELLED] * 2
    assert stem.blocking.status("never") is None
    stem.close()
    stem.close()


def test_many_calls_with_a_connection_are_published_in_the_callers_own_thread() -> None:
    class Threads(Transactional):
        seen: ClassVar[list[str]] = []

        def publish_in_sync(
            self, connection: object, messages: Sequence[Message]
        ) -> Sequence[Published]:
            self.seen.append(threading.current_thread().name)
            return super().publish_in_sync(connection, messages)

    stem, connection = Stem(Threads()), Connection()
    stem.include(tasks)
    here = charge.using(connection=connection)
    jobs = stem.blocking.enqueue_many([here.call("a"), here.call("b")])
    assert [each.id for each in connection.pending] == [job.id for job in jobs]
    assert Threads.seen == [threading.current_thread().name]
    stem.close()


def test_a_refusal_of_some_of_many_stands_in_its_place() -> None:
    broker = Willful()
    broker.refused = {"bad"}
    stem = Stem(broker)
    good, bad = stem.blocking.enqueue_many(
        [stem.call("good"), stem.call("bad")], return_exceptions=True
    )
    assert isinstance(good, BlockingJob)
    assert isinstance(bad, PublishRefused)
    with pytest.raises(ExceptionGroup):
        stem.blocking.enqueue_many([stem.call("good"), stem.call("bad")])
    stem.close()


def test_statuses_can_be_listed_without_an_event_loop() -> None:
    stem = shop_stem()
    job = charge.blocking.enqueue("ada")
    finish(stem, b'"paid"')
    assert [each.id for each in stem.blocking.list(states=["succeeded"]).items] == [job.id]
    stem.close()


def test_a_wrong_call_fails_before_anything_is_sent() -> None:
    shop_stem()
    with pytest.raises(InvalidArguments):
        charge.blocking.enqueue()  # type: ignore[call-arg]


def test_twenty_threads_share_one_stem() -> None:
    stem = shop_stem()

    def some(thread: int) -> list[str]:
        return [charge.blocking.enqueue(f"{thread}-{turn}").id for turn in range(20)]

    with ThreadPoolExecutor(20) as pool:
        ids = [each for some_ids in pool.map(some, range(20)) for each in some_ids]
    assert len(set(ids)) == 400
    assert len(stem._runtime.lanes.loops) == 1


VERBS: dict[str, Callable[[Stem], object]] = {
    "task": lambda stem: charge.blocking.enqueue("ada"),
    "name": lambda stem: stem.blocking.enqueue("a"),
    "status": lambda stem: stem.blocking.status("a"),
    "close": lambda stem: stem.close(),
}


@pytest.mark.parametrize("verb", VERBS)
def test_a_blocking_call_inside_a_running_loop_is_refused(verb: str) -> None:
    stem = shop_stem()

    async def main() -> None:
        with pytest.raises(UseAwait, match="write await"):
            VERBS[verb](stem)

    asyncio.run(main())


def test_there_is_one_background_loop() -> None:
    assert blocking.background_loop() is blocking.background_loop()


@pytest.mark.parametrize(
    "body",
    [
        "stem.blocking.enqueue('a')",
        "asyncio.run(stem.enqueue('a'))",
        "stem.blocking.enqueue('a'); stem.close()",
        "pass",
    ],
)
def test_a_program_that_never_closes_its_stem_ends_at_once_and_in_silence(
    body: str, tmp_path: Path
) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent(f"""\
        import asyncio, logging
        logging.disable(logging.WARNING)
        from stem_core import Stem
        stem = Stem("memory://")
        {body}
        print("end")
        """)
    )
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", str(program)],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")

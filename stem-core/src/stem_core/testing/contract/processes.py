"""What brokers and backends promise between processes, proven with a real second one."""

from __future__ import annotations

import asyncio

from stem_core.testing.contract.neighbour import neighbour
from stem_core.testing.contract.promise import backend_promise, promise
from stem_core.testing.contract.stage import Stage
from stem_core.testing.contract.staging import OnBackend, OnBroker
from stem_core.testing.contract.values import message

__all__ = ["BackendProcessContract", "BrokerProcessContract"]


class BrokerProcessContract(OnBroker):
    """For brokers that processes share."""

    @promise("FETCH-7", needs=("multiprocess", "address"))
    async def test_a_message_that_another_process_publishes_ends_the_wait(
        self, stage: Stage
    ) -> None:
        waiting = await stage.start(
            stage.broker.fetch(["q"], limit=1, wait_ms=10**8, worker="here")
        )
        assert not waiting.done()
        await neighbour(stage, "publish", "m")
        assert [d.message.id for d in await waiting] == ["m"]

    @promise("SETTLE-1", "WAIT-2", needs=("multiprocess", "address", "atomic_results"))
    async def test_a_task_that_another_process_runs_ends_the_wait_for_its_result(
        self, stage: Stage
    ) -> None:
        await stage.publish(message())
        waiting = await stage.start(stage.results.wait("m", timeout_ms=30_000))
        assert not waiting.done()
        record, _ = await asyncio.gather(waiting, neighbour(stage, "run", "m"))
        assert record is not None
        assert record.value == b'"from there"'
        assert await stage.where("m") is None


class BackendProcessContract(OnBackend):
    """For backends that processes share."""

    @backend_promise("WAIT-2", "SAVE-5", needs=("multiprocess", "address"))
    async def test_a_record_that_another_process_saves_ends_the_wait(self, stage: Stage) -> None:
        waiting = await stage.start(stage.results.wait("m", timeout_ms=30_000))
        assert not waiting.done()
        record, _ = await asyncio.gather(waiting, neighbour(stage, "save", "m"))
        assert record is not None
        assert record.value == b'"from there"'
        assert await stage.results.wait("m", timeout_ms=0) == record

"""What a `TransactionalBroker` promises inside of a transaction of its caller.

Its author writes one method of the test class, or both:

- ``transaction(self, broker)`` returns an *async* context manager. Entering it begins a
  transaction on an asynchronous connection of its own and gives that connection; leaving
  it commits, leaving it by an exception rolls back::

      @asynccontextmanager
      async def transaction(self, broker):
          async with await psycopg.AsyncConnection.connect(DSN) as connection:
              yield connection

- ``transaction_sync(self, broker)`` does the same with a plain context manager and a
  blocking connection. It is entered in a thread of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

import pytest

from stem_core.contracts.broker import TransactionalBroker
from stem_core.contracts.messages import (
    ExtendStatus,
    Extension,
    Place,
    PublishStatus,
    SettleStatus,
)
from stem_core.testing.contract.promise import promise
from stem_core.testing.contract.stage import Stage
from stem_core.testing.contract.staging import OnBroker
from stem_core.testing.contract.values import end, message

__all__ = ["TransactionContract"]

_HANDS_OFF_S = 5


class TransactionContract(OnBroker):
    """Publishing and settling on the connection of the caller."""

    @promise("TXN-1", level="transactional", needs=("transaction",))
    async def test_nothing_is_visible_before_the_commit(self, stage: Stage) -> None:
        broker = transactional(stage)
        waiting = await stage.start(broker.fetch(["q"], limit=1, wait_ms=10**8, worker="w"))
        async with self.transaction(broker) as connection:
            (reply,) = await broker.publish_in(connection, [message()])
            assert reply.status is PublishStatus.CREATED
            assert await stage.sibling().lookup(["m"]) == [None]
            assert not waiting.done()
        assert [d.message.id for d in await waiting] == ["m"]

    @promise("TXN-1", level="transactional", needs=("transaction",))
    async def test_nothing_exists_after_a_rollback(self, stage: Stage) -> None:
        broker = transactional(stage)
        await stage.publish(message("held"))
        delivery = await stage.take()
        with suppress(_Rollback):
            async with self.transaction(broker) as connection:
                await broker.publish_in(connection, [message()])
                settlement = end(delivery, follow_ups=(message("f"),))
                (reply,) = await broker.settle_in(connection, [settlement])
                assert reply.status is SettleStatus.DONE
                raise _Rollback
        assert await stage.places("m", "f", "held") == [None, None, Place.LEASED]
        assert await stage.settle(end(delivery)) is SettleStatus.DONE

    @promise("TXN-1", level="transactional", needs=("transaction",))
    async def test_a_settlement_takes_effect_with_the_commit(self, stage: Stage) -> None:
        broker = transactional(stage)
        await stage.publish(message())
        delivery = await stage.take()
        async with self.transaction(broker) as connection:
            settlement = end(delivery, follow_ups=(message("f"),))
            (reply,) = await broker.settle_in(connection, [settlement])
            assert reply.status is SettleStatus.DONE
        assert await stage.places("m", "f") == [None, Place.READY]
        assert await stage.settle(settlement) is SettleStatus.ALREADY

    @promise("TXN-2", level="transactional", needs=("transaction",))
    async def test_each_call_leaves_the_transaction_open(self, stage: Stage) -> None:
        broker = transactional(stage)
        with suppress(_Rollback):
            async with self.transaction(broker) as connection:
                assert broker.accepts(connection)
                for n in range(3):
                    await broker.publish_in(connection, [message(f"m{n}")])
                raise _Rollback
        assert await stage.places("m0", "m1", "m2") == [None] * 3
        assert not broker.accepts(object())

    @promise("TXN-1", "TXN-2", level="transactional", needs=("transaction_sync",))
    async def test_a_blocking_connection_does_the_same(self, stage: Stage) -> None:
        broker = transactional(stage)
        await stage.publish(message("held"))
        delivery = await stage.take()

        def work(ends: Callable[[], None]) -> None:
            with self.transaction_sync(broker) as connection:
                assert broker.accepts(connection)
                (reply,) = broker.publish_in_sync(connection, [message()])
                assert reply.status is PublishStatus.CREATED
                (settled,) = broker.settle_in_sync(connection, [end(delivery)])
                assert settled.status is SettleStatus.DONE
                ends()

        with pytest.raises(_Rollback):
            await asyncio.to_thread(work, _roll_back)
        assert await stage.places("m", "held") == [None, Place.LEASED]
        await asyncio.to_thread(work, lambda: None)
        assert await stage.places("m", "held") == [Place.READY, None]

    @promise("EXTEND-6", level="transactional", needs=("transaction",))
    async def test_a_message_that_an_open_transaction_locks_counts_as_held(
        self, stage: Stage
    ) -> None:
        broker = transactional(stage)
        await stage.publish(message())
        delivery = await stage.take()
        async with self.transaction(broker) as connection:
            await broker.settle_in(connection, [end(delivery)])
            extension = Extension(delivery.receipt, 30_000)
            async with asyncio.timeout(_HANDS_OFF_S):  # to wait for the lock would be a deadlock
                (reply,) = await broker.extend([extension])
            assert reply.status is ExtendStatus.HELD
        assert await stage.where("m") is None


class _Rollback(Exception):
    """Ends a transaction."""


def _roll_back() -> None:
    raise _Rollback


def transactional(stage: Stage) -> TransactionalBroker:
    """Return the broker of *stage*."""
    assert isinstance(stage.broker, TransactionalBroker)
    return stage.broker

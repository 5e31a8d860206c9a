"""Sending settlements, many in one call, until the store has answered each of them.

While a call is on its way the next settlements gather. A call without a reply is sent
again as it was: what it did before answers `already`. A task whose message is gone has ended
all the same, and its record is offered to the backend. What somebody has locked is put aside for
a while, and then sent apart from all others. Rule of this module: it decides
nothing about a task; it gives up only what the store says is lost.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from stem_core import failpoints
from stem_core.contracts.backend import ResultBackend
from stem_core.contracts.broker import Broker
from stem_core.contracts.messages import (
    Ack,
    DeadLetter,
    ExtendStatus,
    Extension,
    Message,
    Published,
    PublishStatus,
    Settled,
    Settlement,
    SettleStatus,
)
from stem_core.model.errors import Fault, StoreError
from stem_core.model.outcome import Reason, Record, State, TaskError
from stem_core.model.value import replace
from stem_core.producer.lane import chunks
from stem_core.worker.backoff import Backoff
from stem_core.worker.decide import Books
from stem_core.worker.run import Run

__all__ = ["Settler", "Store"]

_log = logging.getLogger("stem.worker")

_MOST: Final = 500
_BUSY_MS: Final = 200
"""How long one waits at most for what somebody has locked. While he has, the lease cannot be
renewed either, and once he lets go the first who comes has the task."""
_DONE: Final = SettleStatus.DONE
_BUSY: Final = SettleStatus.BUSY


class Store(Protocol):
    """What a settler needs of a lane."""

    @property
    def broker(self) -> Broker: ...
    @property
    def backend(self) -> ResultBackend | None: ...
    @property
    def atomic(self) -> bool: ...


class Settler:
    """Settles what it is given, in the loop that runs it.

    Args:
        books: how long what the store refuses is kept.
        done: called with runs for which that is over, and what the store said of them.
        failed: called with each error of a store that is asked again.
    """

    def __init__(
        self,
        store: Store,
        backoff: Backoff,
        books: Books,
        done: Callable[[Sequence[Run], SettleStatus], None],
        failed: Callable[[StoreError], None] = lambda error: None,
    ) -> None:
        limits = store.broker.capabilities
        self._store = store
        self._most = min(_MOST, limits.max_batch)
        self._most_bytes = limits.max_batch_bytes
        self._books = books
        self._backoff = backoff
        self._done = done
        self._failed = failed
        self._waiting: deque[Run] = deque()
        self._busy: deque[Run] = deque()
        """Locked by somebody when they were sent, and to be sent again now."""
        self._patience = backoff.another(_BUSY_MS)
        self._aside: set[asyncio.Task[None]] = set()
        self._bell = asyncio.Event()

    def add(self, run: Run) -> None:
        """Settle *run* soon."""
        self._waiting.append(run)
        self._bell.set()

    async def run(self) -> None:
        """Settle for ever. A cancelled settler may be run again and forgets nothing."""
        while True:
            await self._bell.wait()
            self._bell.clear()
            while self._busy or self._waiting:
                line = self._busy or self._waiting
                batch = self._next_batch(line)
                try:
                    await self._settle(batch)
                except BaseException:
                    line.extendleft(reversed(batch))
                    self._bell.set()
                    raise

    def _next_batch(self, waiting: deque[Run]) -> list[Run]:
        """Take as many as fit one call; one that is too large for any goes alone."""
        batch = [waiting.popleft()]
        left = self._most_bytes - _size(batch[0])
        while waiting and len(batch) < self._most:
            left -= _size(waiting[0])
            if left < 0:
                break
            batch.append(waiting.popleft())
        return batch

    async def _settle(self, batch: list[Run]) -> None:
        """Settle *batch*; what must be settled again goes to the end of the line."""
        replies = await self._answers(batch)
        if replies is None:
            return
        pairs = list(zip(batch, replies, strict=True))
        settled = [run for run, reply in pairs if reply.status is _DONE]
        if settled:
            self._done(settled, _DONE)
        again = [
            run
            for run, reply in pairs
            if reply.status not in (_DONE, _BUSY) and not self._is_over(run, reply)
        ]
        busy = [run for run, reply in pairs if reply.status is _BUSY]
        batch.clear()
        self._waiting.extend(again)
        self._put_aside(busy)
        if any(reply.status is SettleStatus.FULL for _, reply in pairs):
            await self._backoff.wait()  # for room; all else is settled otherwise, at once

    def _put_aside(self, busy: list[Run]) -> None:
        """Settle *busy* again after a while, during which nobody waits for them."""
        if busy:
            task = asyncio.create_task(self._bring_back(busy), name="stem-settle-again")
            self._aside.add(task)
            task.add_done_callback(self._aside.discard)
        elif not self._aside and not self._busy:
            self._patience.reset()

    async def _bring_back(self, busy: list[Run]) -> None:
        try:
            await self._patience.wait()
        finally:
            self._busy.extend(busy)
            self._bell.set()

    async def _answers(self, batch: list[Run]) -> Sequence[Settled] | None:
        """Send *batch* until there is a reply; None when it was settled one by one."""
        while True:
            try:
                replies = await self._send(batch)
            except StoreError as error:
                if error.fault is Fault.DATA:
                    await self._find_the_bad_one(batch, error)
                    return None
                self._failed(error)
                if self._backoff.failures == 0:
                    _log.error("%d settlements wait: %s", len(batch), error)
                for run in batch:
                    run.is_sent_again = True
                await self._backoff.wait()
            else:
                self._backoff.reset()
                return replies

    async def _find_the_bad_one(self, batch: list[Run], error: StoreError) -> None:
        """Something in *batch* cannot be kept, and the store did not say what."""
        if len(batch) == 1:
            (run,) = batch
            batch.clear()
            if not self._is_over(run, Settled(SettleStatus.INVALID, str(error))):
                self._waiting.append(run)
        while batch:
            alone = [batch.pop(0)]
            try:
                await self._settle(alone)
            finally:
                batch[:0] = alone  # what is still in there was not settled

    async def _send(self, batch: Sequence[Run]) -> Sequence[Settled]:
        for run in batch:
            if run.follow_ups_apart:
                await self._publish_follow_ups(run)
            if run.is_gone and run.fate is None:
                await self._offer(run)
        if not self._store.atomic:
            await self._save_first(batch)
        if failpoints.ARMED:
            failpoints.reach("worker.settle.before")
        replies = await self._store.broker.settle([_settlement(run) for run in batch])
        if failpoints.ARMED:
            failpoints.reach("worker.settle.after")
        return replies

    async def _publish_follow_ups(self, run: Run) -> None:
        """Publish the follow-ups of *run* by themselves, because its settlement was invalid.

        Mostly one of them exists with another body: under an id that the task chose, or
        from an earlier attempt that published it at once. Then it is there, and that is
        what was asked for.
        """
        settlement = _settlement(run)
        broker = self._store.broker
        replies: list[Published] = []
        for chunk in chunks(settlement.follow_ups, broker.capabilities):
            replies.extend(await _published(broker, chunk))
        run.follow_ups_apart = False
        run.published_apart = tuple(
            message
            for message, reply in zip(settlement.follow_ups, replies, strict=True)
            if reply.status is PublishStatus.CREATED
        )
        run.settlement = replace(settlement, follow_ups=())
        refused = [reply for reply in replies if reply.status is PublishStatus.REFUSED]
        if refused and _is_known(run):
            _log.error(
                "%d follow-ups of %s are lost, for its end is recorded already: %s",
                len(refused),
                run.label,
                refused[0].reason,
            )
        elif refused:
            run.settlement = _unsettleable(run.settlement, refused[0].reason, self._books)

    async def _save_first(self, batch: Sequence[Run]) -> None:
        """Save the records in a backend that is another store than the broker.

        In this order: hold the leases, save, settle. So a record is written by whoever
        may still settle, and a crash in between is repeated and not lost.
        """
        with_record = [run for run in batch if _settlement(run).record is not None]
        if not with_record or self._store.backend is None:
            return
        held = await self._store.broker.extend(
            [Extension(run.delivery.receipt, run.lease_ms) for run in with_record]
        )
        mine = [
            run
            for run, reply in zip(with_record, held, strict=True)
            if reply.status is not ExtendStatus.LOST
        ]
        records = [_settlement(run).record for run in mine]
        await self._store.backend.save([record for record in records if record is not None])
        if failpoints.ARMED:
            failpoints.reach("worker.save.after")
        for run in mine:
            run.is_saved = True
        for run in with_record:
            run.unsaved = None if run.is_saved else _settlement(run).record
            run.settlement = replace(_settlement(run), record=None)

    async def _offer(self, run: Run) -> None:
        """Save the record of *run*, whose message is gone, unless there is a later one.

        What was sent before may have been done, and forgotten since. Then its record is there.
        """
        record, backend = _record_of(run), self._store.backend
        assert record is not None  # nothing else is offered
        assert backend is not None
        if run.is_sent_again and _is_end_by(record.fence, *await backend.load([record.id])):
            run.fate = SettleStatus.ALREADY
        else:
            [run.is_orphan] = await backend.save([record])
            run.fate = SettleStatus.GONE

    def _is_over(self, run: Run, reply: Settled) -> bool:
        """Take note of *reply*; False when *run* must be settled again, perhaps otherwise."""
        settlement = _settlement(run)
        match reply.status:
            case SettleStatus.FULL:
                _log.error("no room to settle %s: %s", run.label, reply.detail)
                return False
            case SettleStatus.INVALID if settlement.follow_ups:
                run.follow_ups_apart = True
                return False
            case SettleStatus.INVALID if not (_is_replaced(settlement) or _is_known(run)):
                run.settlement = _unsettleable(settlement, reply.detail, self._books)
                return False
            case SettleStatus.GONE:
                return self._is_over_and_gone(run)
            case status:
                self._done([run], status)
                return True

    def _is_over_and_gone(self, run: Run) -> bool:
        """The store does not know its message: forgotten since it ended, deleted, or lost with
        all that was there. Its record is offered first, and the store asked once more."""
        record = None if run.is_gone else _record_of(run)
        # A retry has nothing to be told of: it will never run.
        if record is not None and record.state.is_terminal and self._store.backend is not None:
            run.is_gone = True
            return False
        if run.fate is None:  # there was nothing to offer
            # The reply was lost for longer than the store remembers who ended it.
            is_forgotten = run.is_sent_again and isinstance(_settlement(run).outcome, Ack)
            run.fate = SettleStatus.ALREADY if is_forgotten else SettleStatus.GONE
            run.is_orphan = run.is_saved
        self._done([run], run.fate)
        return True


async def _published(broker: Broker, messages: Sequence[Message]) -> Sequence[Published]:
    """Publish *messages*; one that the store calls bad data is refused, for it stays bad."""
    try:
        return await broker.publish(messages)
    except StoreError as error:
        if error.fault is not Fault.DATA:
            raise
        if len(messages) == 1:
            return [Published(PublishStatus.REFUSED, messages[0].id, str(error))]
    return [reply for each in messages for reply in await _published(broker, [each])]


def _settlement(run: Run) -> Settlement:
    assert run.settlement is not None  # nothing else is handed to a settler
    return run.settlement


def _record_of(run: Run) -> Record | None:
    return _settlement(run).record or run.unsaved


def _is_end_by(fence: int, known: Record | None) -> bool:
    return known is not None and known.fence == fence and known.state.is_terminal


def _is_known(run: Run) -> bool:
    """True when whoever asks is told of an end that no dead letter may contradict."""
    return run.is_saved and isinstance(_settlement(run).outcome, Ack)


def _is_replaced(settlement: Settlement) -> bool:
    outcome = settlement.outcome
    return isinstance(outcome, DeadLetter) and outcome.reason is Reason.RESULT_ENCODE_ERROR


def _size(run: Run) -> int:
    """What counts toward the bytes of a call."""
    settlement = _settlement(run)
    record = settlement.record
    size = len(record.value) if record is not None and record.value is not None else 0
    if settlement.follow_ups:
        size += sum(len(message.body) for message in settlement.follow_ups)
    return size


def _unsettleable(settlement: Settlement, detail: str, books: Books) -> Settlement:
    """Return what is settled instead of something that the store cannot keep."""
    reason = Reason.RESULT_ENCODE_ERROR
    error = TaskError(type="stem.unsettleable", message=f"the store refused what it left: {detail}")
    record = settlement.record and replace(
        settlement.record,
        state=State.DEAD,
        value=None,
        reason=reason.value,
        error=error,
        ttl_ms=books.failure_ms,
    )
    outcome = DeadLetter(reason, error, books.dead_ms)
    return Settlement(receipt=settlement.receipt, outcome=outcome, record=record)

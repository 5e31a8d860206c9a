"""What a broker promises of calls whose reply never comes: given up, lost, or cut off.

Rule of this module: each loss is made in three ways. The caller gives up at some moment of the
call; the call is made and its reply thrown away; a network cuts the connection before the reply.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from stem_core.contracts.messages import (
    ACK,
    Message,
    Place,
    Published,
    RetryLater,
    Settled,
    Settlement,
    SettleOutcome,
    SettleStatus,
)
from stem_core.model.errors import StoreError, StoreUnavailable
from stem_core.testing.contract.misuse import Misuse
from stem_core.testing.contract.promise import promise
from stem_core.testing.contract.stage import Stage
from stem_core.testing.contract.staging import OnBroker
from stem_core.testing.contract.values import DEAD, end, message
from stem_core.testing.faults.faulty import FaultyBroker
from stem_core.testing.faults.plan import EXECUTED_THEN_TIMEOUT, TIMEOUT, FaultPlan, FaultRule
from stem_core.testing.faults.plan import Mishap as Loss

__all__ = ["ReplyContract"]

_CUTS: Final = 12
_LOSSES: Final = 6
_OUTCOMES: Final[Sequence[SettleOutcome]] = (ACK, RetryLater(0), DEAD)

T = TypeVar("T")


class ReplyContract(OnBroker):
    """A call that is sent again is the call that was sent."""

    # ── publish ──────────────────────────────────────────────────────────────

    @promise("PUBLISH-3", "PUBLISH-8", level="dedupe")
    async def test_a_publish_whose_caller_gave_up_makes_no_second_message(
        self, stage: Stage
    ) -> None:
        for turns in range(_CUTS):
            batch = a_batch(turns)
            call = asyncio.ensure_future(stage.broker.publish(batch))
            await give_up(call, turns)
            await assert_there_once(stage, batch, await stage.broker.publish(batch))

    @promise("PUBLISH-3", "PUBLISH-8", level="dedupe")
    async def test_a_publish_whose_reply_was_lost_makes_no_second_message(
        self, stage: Stage
    ) -> None:
        for how, status in ((EXECUTED_THEN_TIMEOUT, "duplicate"), (TIMEOUT, "created")):
            batch = a_batch(how.value)
            broker = losing(stage, "publish", how)
            await unheard(broker.publish(batch))
            replies = await broker.publish(batch)
            assert {reply.status.value for reply in replies} == {status}
            await assert_there_once(stage, batch, replies)

    @promise("PUBLISH-3", "PUBLISH-8", level="dedupe", needs=("network",))
    async def test_a_publish_whose_reply_the_network_lost_makes_no_second_message(
        self, stage: Stage
    ) -> None:
        for number in range(_LOSSES):
            batch = a_batch(number)

            def publish(batch: Sequence[Message] = batch) -> Awaitable[Sequence[Published]]:
                return stage.broker.publish(batch)

            await assert_there_once(stage, batch, await cut_off(stage, publish))

    # ── settle ───────────────────────────────────────────────────────────────

    @promise("SETTLE-3", level="dedupe")
    async def test_a_settlement_whose_caller_gave_up_happens_once(self, stage: Stage) -> None:
        for turns in range(_CUTS):
            sent = await a_settlement(stage, turns)
            call = asyncio.ensure_future(stage.broker.settle([sent]))
            await give_up(call, turns)
            assert await stage.settle(sent) in (SettleStatus.DONE, SettleStatus.ALREADY)
            await assert_done_once(stage, sent)

    @promise("SETTLE-3", level="dedupe")
    async def test_a_settlement_whose_reply_was_lost_happens_once(self, stage: Stage) -> None:
        ways = ((EXECUTED_THEN_TIMEOUT, SettleStatus.ALREADY), (TIMEOUT, SettleStatus.DONE))
        for number in range(len(_OUTCOMES) * len(ways)):
            how, expected = ways[number // len(_OUTCOMES)]
            sent = await a_settlement(stage, number)
            broker = losing(stage, "settle", how)
            await unheard(broker.settle([sent]))
            (reply,) = await broker.settle([sent])
            assert reply.status is expected
            await assert_done_once(stage, sent)

    @promise("SETTLE-3", level="dedupe", needs=("network",))
    async def test_a_settlement_whose_reply_the_network_lost_happens_once(
        self, stage: Stage
    ) -> None:
        for number in range(_LOSSES):
            sent = await a_settlement(stage, number)

            def settle(sent: Settlement = sent) -> Awaitable[Sequence[Settled]]:
                return stage.broker.settle([sent])

            (reply,) = await cut_off(stage, settle)
            assert reply.status in (SettleStatus.DONE, SettleStatus.ALREADY)
            await assert_done_once(stage, sent)

    # ── fetch ────────────────────────────────────────────────────────────────

    @promise("FETCH-4", level="lease")
    async def test_what_was_given_and_never_heard_of_comes_back(self, stage: Stage) -> None:
        await stage.publish(message(lease_ms=stage.unit_ms))
        broker = losing(stage, "fetch", EXECUTED_THEN_TIMEOUT)
        await unheard(broker.fetch(["q"], limit=1, wait_ms=0, worker="w1"))
        assert await stage.fetch() == []
        await stage.let_pass(stage.unit_ms + 1)
        delivery = await stage.take()
        assert (delivery.attempt, delivery.lapses) == (1, 1)


# ── losing a reply ───────────────────────────────────────────────────────────


def losing(stage: Stage, verb: str, how: Loss) -> FaultyBroker:
    """Return the broker of *stage*, whose first call of *verb* ends as *how* says."""
    return FaultyBroker(stage.broker, FaultPlan(FaultRule(verb, how, calls=[1])))


async def unheard(call: Awaitable[object]) -> None:
    """Make *call*, and insist that its reply is lost."""
    try:
        reply = await call
    except StoreUnavailable:
        return
    raise AssertionError(f"the reply was to be lost, and came: {reply!r}")


async def cut_off(stage: Stage, ask: Callable[[], Awaitable[T]]) -> T:
    """Return the reply of *ask*, made while the network loses the next one; again if need be."""
    network = stage.network
    assert network is not None
    sprung = network.sprung
    network.drop_reply()
    try:
        reply = await ask()
    except StoreError:
        reply = await ask()
    if network.sprung == sprung:
        raise Misuse("`network` on the Stage saw no request: let the broker connect through it")
    return reply


async def give_up(call: asyncio.Task[object], turns: int) -> None:
    """Cancel *call* after that many turns of the loop."""
    for _ in range(turns):
        await asyncio.sleep(0)
    call.cancel()
    await asyncio.wait([call])


# ── what is lost, and what must be there ─────────────────────────────────────


def a_batch(name: object) -> list[Message]:
    """Five messages whose ids begin with *name*."""
    return [message(f"m{name}-{n}") for n in range(5)]


async def a_settlement(stage: Stage, number: int) -> Settlement:
    """Publish and take a message; return a settlement of it, with a follow-up."""
    queue = f"q{number}"
    await stage.publish(message(f"m{number}", queue))
    outcome = _OUTCOMES[number % len(_OUTCOMES)]
    follow_ups = (message(f"f{number}", f"f{number}"),)
    return end(await stage.take(queue), outcome, follow_ups=follow_ups)


async def assert_there_once(
    stage: Stage, batch: Sequence[Message], replies: Sequence[Published]
) -> None:
    """Insist that each message of *batch* is ready once, in order, as *replies* say."""
    assert [reply.id for reply in replies] == [sent.id for sent in batch]
    assert {reply.status.value for reply in replies} in ({"created"}, {"duplicate"})
    assert await stage.drain() == [sent.id for sent in batch]


async def assert_done_once(stage: Stage, sent: Settlement) -> None:
    """Insist that *sent* is done, with its follow-up, and is not done again."""
    assert await stage.settle(sent) is SettleStatus.ALREADY
    places = {ACK: None, DEAD: Place.DEAD}
    assert await stage.places(sent.receipt.id) == [places.get(sent.outcome, Place.READY)]
    (follow_up,) = sent.follow_ups
    assert await stage.drain(follow_up.queue) == [follow_up.id]

"""What a broker promises when processes are killed and frozen, proven on real ones.

The processes are the kit's own and use the broker alone: no application takes part. All
that is drawn comes from one seed, which a failure names.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from stem_core.contracts.messages import (
    Delivery,
    Extension,
    Place,
    RetryLater,
    SettleStatus,
)
from stem_core.testing.contract.promise import promise
from stem_core.testing.contract.stage import Stage
from stem_core.testing.contract.staging import OnBroker
from stem_core.testing.contract.trial import Trial, Victim
from stem_core.testing.contract.values import end, ended, message
from stem_core.testing.contract.victim import FAILS, QUEUE, ids_of
from stem_core.testing.faults.checker import Findings, complaints, too_late
from stem_core.testing.faults.history import What

__all__ = ["ChaosContract"]

_LEAST_LEASE_MS: Final = 5_000
"""A consumer that the machine lets wait this long would look like a frozen one."""

_GRACE_MS: Final = 5_000
"""How much later than its lapse a message may be taken up: others wait for a consumer, too."""

_CREW: Final = 3
_KILLS: Final = 5
_MANY: Final = 240
_DOOMED: Final = 6
_LATEST_SETTLEMENT: Final = 6
_TOGETHER: Final = (1, 1, 7, 20)
"""How many messages each of the killed producers publishes in one call."""

_NEWER: Final = b'"from the new lease"'


class ChaosContract(OnBroker):
    """For brokers that processes share, given by URL; takes about half a minute::

        class TestSpoolUnderKills(ChaosContract):
            url = "spool:///tmp/spool"

    Attributes:
        seed: of all that is drawn; 0 draws a new one.
    """

    seed: int = 0

    @promise("FETCH-1", "FETCH-4", "FETCH-5", "BROKER-6", level="chaos", needs=("address",))
    async def test_what_killed_consumers_held_is_taken_up_in_time_and_ends_once(
        self, stage: Stage
    ) -> None:
        with Trial(stage, self.seed) as trial:
            await publish_tasks(trial, _MANY)
            crew = [trial.start("consume") for _ in range(_CREW)]
            for number in range(_KILLS):
                await kill_somebody(trial, crew, number)
            bound_ms = lease_ms(stage) + grace_ms(trial)
            await trial.until_ended(bound_ms / 1000)
            found = await trial.judged()
            late = too_late(found.recoveries_ms, bound_ms, "from a kill to the next start")
            assert_kept(trial, found, late)

    @promise("SETTLE-1", level="chaos", needs=("address",))
    async def test_a_kill_inside_a_settlement_leaves_the_whole_of_it_or_nothing(
        self, stage: Stage
    ) -> None:
        with Trial(stage, self.seed) as trial:
            doomed_in = [trial.dice.randint(2, _LATEST_SETTLEMENT) for _ in range(_DOOMED)]
            await publish_tasks(trial, 3 * sum(doomed_in) + 1)  # enough for all to meet their end
            doomed = [trial.start("consume", dies_in=count) for count in doomed_in]
            await trial.until(lambda: all(each.exit_code for each in doomed), "end of the doomed")
            for _ in range(2):
                trial.start("consume")
            await trial.until_ended((lease_ms(stage) + 2 * grace_ms(trial)) / 1000)
            assert_kept(trial, await trial.judged())

    @promise("PUBLISH-1", "PUBLISH-8", level="chaos", needs=("address",))
    async def test_what_a_killed_producer_was_told_is_there_and_each_call_is_whole(
        self, stage: Stage
    ) -> None:
        with Trial(stage, self.seed) as trial:
            most = stage.broker.capabilities.max_batch
            producers = [trial.start("produce", together=min(most, n)) for n in _TOGETHER]
            for producer in producers:
                await kill_after_its_first_call(trial, producer)
            trial.tail.look()
            told = [why for each in producers for why in await broken_calls(trial, each)]
            assert not told, trial.told(*told)

    @promise("SETTLE-2", "EXTEND-3", "FETCH-5", level="chaos", needs=("address",))
    async def test_a_consumer_frozen_beyond_its_leases_can_do_nothing_to_them(
        self, stage: Stage
    ) -> None:
        with Trial(stage, self.seed) as trial:
            await outlive(trial)

    @promise("SETTLE-8", level="chaos", needs=("address", "atomic_results"))
    async def test_the_record_of_a_frozen_consumer_replaces_no_newer_one(
        self, stage: Stage
    ) -> None:
        with Trial(stage, self.seed) as trial:
            await outlive(trial)
            for record in await stage.results.load(["ended", "held", "retried"]):
                assert record is not None
                assert record.value == _NEWER, trial.told(f"the record of {record.id} is the old")


# ── consumers that are killed ────────────────────────────────────────────────


def lease_ms(stage: Stage) -> int:
    """Return a lease that is short, and long for a consumer at this store."""
    return max(_LEAST_LEASE_MS, 2 * stage.unit_ms)


def grace_ms(trial: Trial) -> float:
    """Return what is added to it at a store so far away, on a machine so busy."""
    return _GRACE_MS + 2 * trial.stage.unit_ms + 2 * trial.slowest_start_ms()


async def publish_tasks(trial: Trial, count: int) -> None:
    """Publish *count* messages, every fifth of them to be retried once."""
    lease = lease_ms(trial.stage)
    bodies = [FAILS if n % 5 == 0 else b"{}" for n in range(count)]
    await trial.publish(
        [message(f"m{n}", QUEUE, body=body, lease_ms=lease) for n, body in enumerate(bodies)]
    )


async def kill_somebody(trial: Trial, crew: list[Victim], number: int) -> None:
    """Kill one of *crew* after a random message of this kill's share; start another one."""
    share = _MANY // (_KILLS + 1)
    count = number * share + trial.dice.randrange(share // 2, share)
    settled = trial.tail.ids[What.SETTLED]
    await trial.until(lambda: len(settled) >= count, f"settlement of {count} messages")
    await trial.until(lambda: trial.pids(What.READY).intersection(v.pid for v in crew), "consumer")
    await trial.moment(0.1)
    ready = [place for place, each in enumerate(crew) if each.pid in trial.pids(What.READY)]
    place = trial.dice.choice(ready)
    crew[place].kill()
    crew[place] = trial.start("consume")


def assert_kept(trial: Trial, found: Findings, more: Sequence[str] = ()) -> None:
    """Insist that nothing was lost and nothing done twice, but for what a kill explains."""
    told = [*complaints(found), *more]
    if found.overlapping:
        told.append(f"{len(found.overlapping)} held by two at once: {found.overlapping[0]}")
    assert not told, trial.told(*told)


# ── producers that are killed ────────────────────────────────────────────────


async def kill_after_its_first_call(trial: Trial, producer: Victim) -> None:
    """Kill *producer* a random time after its first call has returned."""
    await trial.until(lambda: producer.pid in trial.pids(What.ACCEPTED), "first publish")
    await trial.moment(0.4 * trial.stage.unit_ms / 1000)
    producer.kill()


async def broken_calls(trial: Trial, producer: Victim) -> list[str]:
    """Say which calls of *producer* the store has not as it has to have them."""
    confirmed = {e.id for e in trial.tail.events if e.pid == producer.pid and e.id}
    together, told = producer.order.together, []
    calls = -(-len(confirmed) // together) + 1  # the last of them was never confirmed
    ids = [ids_of(producer.pid, call, together) for call in range(calls)]
    found = iter(await trial.lookup([id for call in ids for id in call]))
    for call in ids:
        there = [id for id, where in zip(call, found, strict=False) if where is not None]
        if len(there) not in (0, together):
            told.append(f"{len(there)} of {together} messages of one call are there: {there[0]}")
        if lost := confirmed.intersection(call).difference(there):
            told.append(f"{len(lost)} confirmed and lost: {min(lost)}")
    return told


# ── a consumer that is frozen ────────────────────────────────────────────────


async def outlive(trial: Trial) -> None:
    """Freeze a consumer until its leases are somebody else's; wake it and insist that it is
    refused, and that everything goes on as if it had never come back."""
    stage, ids = trial.stage, ["ended", "held", "retried"]
    await trial.publish([message(id, QUEUE, lease_ms=2 * stage.unit_ms) for id in ids])
    zombie = trial.start("hold", together=len(ids))
    await trial.until(lambda: trial.tail.ids[What.LEASED].issuperset(ids), "lease")
    await trial.moment(0.1)
    zombie.freeze()
    frozen = {id: (await stage.found(id)).fence for id in ids}
    newer = {each.message.id: each for each in await take_over(trial, len(ids))}
    assert [newer[id].receipt.fence - frozen[id] for id in ids] == [1, 1, 1]
    assert await ack(stage, newer["ended"]) is SettleStatus.DONE
    assert await stage.settle(end(newer["retried"], RetryLater(0))) is SettleStatus.DONE
    zombie.say()
    zombie.thaw()
    await trial.until(lambda: zombie.exit_code == 0, "end of the frozen one")
    assert_refused(trial, ids)
    assert await stage.places(*ids) == [None, Place.LEASED, Place.READY]
    assert await ack(stage, newer["held"]) is SettleStatus.DONE
    again = await stage.take(QUEUE)
    assert (again.message.id, again.attempt) == ("retried", 2)
    assert again.receipt.fence == frozen["retried"] + 2
    assert await ack(stage, again) is SettleStatus.DONE


async def take_over(trial: Trial, count: int) -> list[Delivery]:
    """Take *count* messages when their leases have lapsed."""
    broker, taken = trial.stage.broker, list[Delivery]()
    until = time.monotonic() + (2 * trial.stage.unit_ms + grace_ms(trial)) / 1000
    while len(taken) < count:
        assert time.monotonic() < until, trial.told("no lease of the frozen one has lapsed")
        limit = count - len(taken)
        taken += await broker.fetch([QUEUE], limit=limit, wait_ms=1_000, worker="newer")
    await broker.extend([Extension(each.receipt, 10**6) for each in taken])
    return taken


async def ack(stage: Stage, delivery: Delivery) -> SettleStatus:
    """End *delivery* with a record."""
    return await stage.settle(end(delivery, record=ended(delivery, value=_NEWER)))


def assert_refused(trial: Trial, ids: Sequence[str]) -> None:
    """Insist that the frozen one was told that it holds nothing any more."""
    trial.tail.look()
    answers = {e.id: e.detail for e in trial.tail.events if e.what is What.SETTLED}
    assert answers == dict.fromkeys(ids, "stale ack"), trial.told(f"its settlements: {answers}")
    lost = trial.tail.ids[What.DROPPED]
    assert lost == set(ids), trial.told(f"of its leases only {sorted(lost)} are told to be lost")

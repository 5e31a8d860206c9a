"""What a broker promises of shared limits."""

from __future__ import annotations

from stem_core.contracts.limits import Limit
from stem_core.testing.contract.promise import promise
from stem_core.testing.contract.stage import Stage
from stem_core.testing.contract.staging import OnBroker

__all__ = ["LimitContract"]


class LimitContract(OnBroker):
    """`LimitStore`, for brokers that have one."""

    @promise("LIMIT-1", needs=("limits",))
    async def test_units_are_taken_of_all_limits_or_of_none(self, stage: Stage) -> None:
        limits = stage.limits
        narrow = Limit(key="narrow", concurrent=1)
        wide = Limit(key="wide", concurrent=2)
        assert (await limits.acquire([narrow, wide], holder="a", lease_ms=10**6)).granted
        refused = await limits.acquire([wide, narrow], holder="b", lease_ms=10**6)
        assert not refused.granted
        assert refused.retry_after_ms > 0
        assert (await limits.acquire([wide], holder="c", lease_ms=10**6)).granted
        assert not (await limits.acquire([wide], holder="d", lease_ms=10**6)).granted

    @promise("LIMIT-1", needs=("limits",))
    async def test_no_window_has_more_starts_than_the_rate(self, stage: Stage) -> None:
        limits = stage.limits
        rate = Limit(key="r", rate=3, per_ms=stage.unit_ms)
        granted = [
            (await limits.acquire([rate], holder=f"h{n}", lease_ms=1)).granted for n in range(5)
        ]
        assert granted == [True, True, True, False, False]
        refused = await limits.acquire([rate], holder="h", lease_ms=1)
        assert 0 < refused.retry_after_ms <= stage.unit_ms
        await stage.let_pass(stage.unit_ms + 1)
        assert (await limits.acquire([rate], holder="h", lease_ms=1)).granted

    @promise("LIMIT-2", needs=("limits",))
    async def test_a_unit_that_is_not_given_back_ends_with_its_lease(self, stage: Stage) -> None:
        limits = stage.limits
        one = Limit(key="k", concurrent=1)
        assert (await limits.acquire([one], holder="dies", lease_ms=stage.unit_ms)).granted
        assert not (await limits.acquire([one], holder="b", lease_ms=1)).granted
        await stage.let_pass(stage.unit_ms + 1)
        assert (await limits.acquire([one], holder="b", lease_ms=1)).granted

    @promise("LIMIT-3", needs=("limits",))
    async def test_giving_back_twice_frees_one_unit(self, stage: Stage) -> None:
        limits = stage.limits
        two = Limit(key="k", concurrent=2)
        for holder in ("a", "b"):
            assert (await limits.acquire([two], holder=holder, lease_ms=10**6)).granted
        await limits.give_back([two], holder="a")
        await limits.give_back([two], holder="a")
        assert (await limits.acquire([two], holder="c", lease_ms=10**6)).granted
        assert not (await limits.acquire([two], holder="d", lease_ms=10**6)).granted

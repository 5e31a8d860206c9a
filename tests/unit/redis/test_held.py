"""Whoever holds no lease has nothing else to do."""

from __future__ import annotations

import pytest

from stem_core.plugin import (
    Delivery,
    Extended,
    ExtendStatus,
    Extension,
    Message,
    Receipt,
    Settled,
    Settlement,
    SettleStatus,
)
from stem_redis.standing import Held, _block_ms

RECEIPTS = {id: Receipt(id, "q", 1) for id in "ab"}


def delivery(id: str, lease_ms: int) -> Delivery:
    message = Message(id=id, queue="q", task="t", body=b"")
    return Delivery(message=message, receipt=RECEIPTS[id], lease_ms=lease_ms)


def settle(held: Held, id: str, status: SettleStatus) -> None:
    held.forget([Settlement(receipt=RECEIPTS[id])], [Settled(status)])


def test_a_lease_is_held_until_it_is_settled():
    held = Held()
    assert not held.anything(0)
    held.note([delivery("a", 100), delivery("b", 100)], now_ms=0)
    settle(held, "a", SettleStatus.DONE)
    assert held.anything(0)
    settle(held, "b", SettleStatus.INVALID)
    assert held.anything(0)
    settle(held, "b", SettleStatus.STALE)
    settle(held, "b", SettleStatus.GONE)
    assert not held.anything(0)


def test_a_lease_is_held_until_it_lapses():
    held = Held()
    held.note([delivery("a", 100)], now_ms=50)
    assert held.anything(149)
    assert not held.anything(150)


def test_an_extension_moves_the_end_and_a_lost_lease_is_held_no_more():
    held = Held()
    held.note([delivery("a", 100)], now_ms=0)
    mine = [Extension(RECEIPTS["a"], 500), Extension(RECEIPTS["b"], 500)]
    replies = [Extended(ExtendStatus.HELD, 500), Extended(ExtendStatus.HELD, 500)]
    held.extended(mine, replies, now_ms=50)
    assert held.anything(549)
    held.extended(mine, [Extended(ExtendStatus.LOST)] * 2, now_ms=60)
    assert not held.anything(60)


@pytest.mark.parametrize("sleep_ms", [20, 2_499, 2_500, 3_999, 4_000, 4_001, 60_000])
def test_a_read_ends_by_itself_long_before_or_after_it_is_ended(sleep_ms: int):
    assert abs(_block_ms(sleep_ms) - sleep_ms) >= 1_500
    assert _block_ms(sleep_ms) <= 5_500

"""Control messages count when they are signed, for here, for now and for the first time."""

from __future__ import annotations

import asyncio

import pytest
from unit.producer.stores import fresh_name
from unit.signing.rings import OTHER, a_signer, an_entry

from stem_core.contracts.control import ControlMessage
from stem_core.embedded.memory.broker import InMemoryBroker
from stem_core.model.errors import (
    MalformedEnvelope,
    NotEncodable,
    SignatureError,
    SignatureInvalid,
    SignatureMissing,
)
from stem_core.model.seal import TASK
from stem_core.model.value import replace
from stem_core.producer.vouching import CONTROL_WINDOW_MS, ControlReader, ControlWriter
from stem_core.testing.clock import FakeClock

ORDER = {"do": "pause", "queue": "billing"}


class Both:
    """A writer and a reader with one key and one clock."""

    def __init__(self, signer=None, *, namespace: str = "stem") -> None:
        self.clock = FakeClock()
        self.signer = signer
        self.writer = ControlWriter(namespace, signer, clock=self.clock)
        self.reader = ControlReader("stem", signer, clock=self.clock)

    def refused(self, message: ControlMessage) -> SignatureError:
        with pytest.raises(SignatureError) as caught:
            self.reader.read(message)
        return caught.value


def signed(**more) -> Both:
    return Both(a_signer(an_entry()), **more)


def test_an_order_arrives_as_it_was_given() -> None:
    async def main() -> None:
        both = signed()
        broker = InMemoryBroker(fresh_name())
        assert broker.control is not None
        listening = broker.control.listen()
        coming = asyncio.ensure_future(anext(listening))
        await asyncio.sleep(0)
        await broker.control.send(both.writer.write(ORDER))
        assert both.reader.read(await coming) == ORDER
        await broker.aclose()

    asyncio.run(main())


def test_with_keys_what_nobody_signed_does_not_count() -> None:
    both = signed()
    unsigned = ControlWriter("stem", None, clock=both.clock).write(ORDER)
    assert isinstance(both.refused(unsigned), SignatureMissing)


def test_without_keys_orders_are_read_all_the_same() -> None:
    both = Both()
    assert both.reader.read(both.writer.write(ORDER)) == ORDER


def test_a_signed_task_is_no_order() -> None:
    both = signed()
    order = both.writer.write(ORDER)
    seal = both.signer.sign(TASK, order.body)
    assert isinstance(both.refused(replace(order, signature=seal.signature)), SignatureInvalid)


def test_every_bit_of_an_order_is_vouched_for() -> None:
    both = signed()
    order = both.writer.write(ORDER)
    for place in range(len(order.body) * 8):
        body = bytearray(order.body)
        body[place // 8] ^= 1 << place % 8
        both.refused(replace(order, body=bytes(body)))
    assert both.reader.read(order) == ORDER


def test_an_order_counts_once() -> None:
    both = signed()
    order = both.writer.write(ORDER)
    assert both.reader.read(order) == ORDER
    for _ in range(3):
        assert both.refused(order).why == "seen-before"
    assert both.reader.read(both.writer.write(ORDER)) == ORDER


def test_an_order_counts_for_a_minute() -> None:
    both = signed()
    order, kept = both.writer.write(ORDER), both.writer.write(ORDER)
    both.clock.advance(CONTROL_WINDOW_MS / 1000)
    assert both.reader.read(order) == ORDER
    both.clock.advance("1ms")
    assert both.refused(kept).why == "stale"


def test_an_order_that_was_read_early_is_remembered_until_its_window_ends() -> None:
    both = signed()
    ahead = FakeClock()
    ahead.advance(CONTROL_WINDOW_MS / 1000)
    order = ControlWriter("stem", both.signer, clock=ahead).write(ORDER)
    assert both.reader.read(order) == ORDER
    both.clock.advance(2 * CONTROL_WINDOW_MS / 1000)
    assert both.refused(order).why == "seen-before"


def test_an_order_of_tomorrow_does_not_count() -> None:
    both = signed()
    ahead = FakeClock()
    ahead.advance("61s")
    order = ControlWriter("stem", both.signer, clock=ahead).write(ORDER)
    assert both.refused(order).why == "early"


def test_an_order_for_another_namespace_does_not_count() -> None:
    both = signed(namespace="other")
    assert both.refused(both.writer.write(ORDER)).why == "moved"


def test_a_flood_is_not_remembered_without_end() -> None:
    both = Both()
    for _ in range(10_000):
        both.reader.read(both.writer.write(ORDER))
    assert both.refused(both.writer.write(ORDER)).why == "seen-before"
    both.clock.advance("2m")
    assert both.reader.read(both.writer.write(ORDER)) == ORDER


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"v":1}',
        b'{"v":2,"namespace":"stem","at_ms":0,"nonce":"n","order":{}}',
        b'{"v":1,"namespace":"stem","at_ms":0,"nonce":"n","order":{},"more":1}',
        b'{"v":1,"namespace":7,"at_ms":0,"nonce":"n","order":{}}',
    ],
)
def test_what_is_no_order_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedEnvelope):
        Both().reader.read(ControlMessage(body=body))


def test_an_order_is_json_and_an_object() -> None:
    both = Both()
    with pytest.raises(NotEncodable):
        both.writer.write({"do": object()})
    with pytest.raises(MalformedEnvelope, match="no object"):
        both.reader.read(both.writer.write([1]))  # type: ignore[arg-type]


def test_who_cannot_sign_cannot_give_orders() -> None:
    both = Both(a_signer(an_entry("one", "public", OTHER)))
    with pytest.raises(SignatureError, match="no key to sign with"):
        both.writer.write(ORDER)

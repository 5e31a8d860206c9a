"""Frozen: seals, orders and records of an earlier release, byte for byte.

Both ways: this release accepts what is frozen, and writes the very same bytes, so the earlier one
accepts what this one writes. What was frozen is never changed; a new format adds files.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from unit.signing.rings import a_signer, an_entry

from stem_core.contracts.control import ControlMessage
from stem_core.model.codec import decode_record, encode_record, encode_value
from stem_core.model.outcome import Record, State, TaskError
from stem_core.model.seal import CONTROL, RESULT, SCHEDULE, TASK, Seal
from stem_core.plugin import Dice
from stem_core.producer.vouching import ControlReader, ControlWriter
from stem_core.testing.clock import FakeClock
from stem_signing.keys import Kind

GOLDEN = Path(__file__).parents[2] / "golden"
BODY = (GOLDEN / "envelope-v1-full.json").read_bytes()
KINDS: dict[str, Kind] = {"ed25519": "private", "hmac-sha256": "secret"}
ORDER = {"do": "look", "id": "0190a7c2-7c3b-7000-8000-000000000001"}

RECORDS = {
    "minimal": Record(id="a", state=State.SUCCEEDED),
    "full": Record(
        id="0190a7c2-7c3b-7000-8000-000000000001", state=State.SUCCEEDED, fence=3, attempt=2,
        task="billing.charge", queue="billing", value=encode_value({"total": 12, "of": "Zoë"}),
        meta={"by": "finance"}, enqueued_at_ms=1767225600000, started_at_ms=1767225600100,
        finished_at_ms=1767225600900, worker="w-1", ttl_ms=3_600_000,
        seal=Seal("ed25519", "one", bytes(range(64))),
    ),
    "failed": Record(
        id="a", state=State.DEAD, fence=459699451200770, attempt=4, task="t", queue="q",
        reason="max-retries-exhausted",
        error=TaskError(
            type="ValueError", message="not \ud800 text", traceback="  File …", attempt=4, at_ms=7
        ),
    ),
}  # fmt: skip


class OneFace(Dice):
    """Dice that always show the same."""

    def roll(self) -> float:
        return 0.5

    def bytes(self, count: int) -> bytes:
        return bytes(range(count))


def frozen(name: str) -> bytes:
    return (GOLDEN / name).read_bytes()


def the_signer(algorithm: str):
    return a_signer(an_entry(kind=KINDS[algorithm]))


@pytest.mark.parametrize("name", RECORDS)
def test_a_known_record_is_written_as_the_golden_one_and_read_from_it(name: str) -> None:
    golden = frozen(f"record-v1-{name}.json")
    assert encode_record(RECORDS[name]) == golden
    again = decode_record(golden)
    assert encode_record(again) == golden
    assert (again.state, again.fence, again.seal) == (
        RECORDS[name].state, RECORDS[name].fence, RECORDS[name].seal
    )  # fmt: skip


@pytest.mark.parametrize("purpose", [TASK, RESULT, CONTROL, SCHEDULE])
@pytest.mark.parametrize("algorithm", KINDS)
def test_a_key_makes_the_golden_seal_and_vouches_for_it(algorithm: str, purpose: str) -> None:
    golden = frozen(f"seal-v1-{algorithm}-{purpose}.sig")
    signer = the_signer(algorithm)
    assert signer.sign(purpose, BODY) == Seal(algorithm, "one", golden)
    signer.verify(purpose, BODY, Seal(algorithm, "one", golden))


@pytest.mark.parametrize("algorithm", KINDS)
def test_an_order_is_written_as_the_golden_one_and_read_from_it(algorithm: str) -> None:
    body, signature = frozen("control-v1.json"), frozen(f"control-v1-{algorithm}.sig")
    signer, clock = the_signer(algorithm), FakeClock()
    message = ControlMessage(body=body, key_id="one", algorithm=algorithm, signature=signature)
    assert ControlWriter("stem", signer, clock=clock, dice=OneFace()).write(ORDER) == message
    assert ControlReader("stem", signer, clock=clock).read(message) == ORDER

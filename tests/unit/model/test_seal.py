"""What a signature covers: one byte string for one purpose, algorithm, key and body."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stem_core.model.seal import CONTROL, RESULT, SCHEDULE, TASK, UNSIGNED, Seal, pae

# Few characters, so that two cases often differ in nothing but where a part ends.
parts = st.tuples(*[st.text("ab\x00", max_size=4)] * 3, st.binary(max_size=4))


@given(parts, parts)
def test_two_different_cases_never_give_the_same_bytes(
    one: tuple[str, str, str, bytes], other: tuple[str, str, str, bytes]
) -> None:
    assert (pae(*one) == pae(*other)) == (one == other)


@given(parts)
def test_the_parts_can_be_read_back(case: tuple[str, str, str, bytes]) -> None:
    rest = pae(*case).removeprefix(b"STEMv1")
    texts = []
    for _ in range(3):
        size = int.from_bytes(rest[:4], "big")
        texts.append(rest[4 : 4 + size].decode())
        rest = rest[4 + size :]
    assert int.from_bytes(rest[:8], "big") == len(rest) - 8
    assert (*texts, rest[8:]) == case


def test_moving_a_byte_between_parts_changes_what_is_signed() -> None:
    assert pae("ab", "c", "", b"") != pae("a", "bc", "", b"")
    assert pae("a", "b", "", b"c") != pae("a", "b", "c", b"")


def test_every_purpose_has_its_own_bytes() -> None:
    purposes = (TASK, RESULT, CONTROL, SCHEDULE)
    assert len({pae(purpose, "a", "k", b"body") for purpose in purposes}) == len(purposes)


def test_the_layout_never_changes() -> None:
    assert pae(TASK, "hmac-sha256", "v1", b'{"version":1}') == (
        b"STEMv1"
        b"\x00\x00\x00\x0cstem.task.v1"
        b"\x00\x00\x00\x0bhmac-sha256"
        b"\x00\x00\x00\x02v1"
        b'\x00\x00\x00\x00\x00\x00\x00\x0d{"version":1}'
    )


def test_an_empty_seal_vouches_for_nothing() -> None:
    assert UNSIGNED.is_empty
    assert not Seal("hmac-sha256", "v1", b"\x00").is_empty


def test_a_seal_does_not_print_its_signature() -> None:
    assert "secret" not in repr(Seal("hmac-sha256", "v1", b"secret"))

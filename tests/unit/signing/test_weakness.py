"""Keys that must not be used are refused before anything is signed with them."""

from __future__ import annotations

import secrets
from itertools import product

import pytest
from unit.signing.rings import SECRET, a_key

from stem_signing.keys import Kind, key_of
from stem_signing.weakness import _D, _LOW_ORDER, _P, of_public

LOW = [
    bytes([*y.to_bytes(32, "little")[:31], y.to_bytes(32, "little")[31] | sign])
    for y, sign in product(sorted(_LOW_ORDER), (0, 128))
]


@pytest.mark.parametrize(
    ("kind", "data", "why"),
    [
        ("secret", b"", "the key is empty"),
        ("secret", SECRET[:31], "has 31 bytes"),
        ("secret", bytes(32), "zero byte"),
        ("secret", SECRET + b"\0", "ends with a zero byte"),
        ("secret", b"\xff" * 32, "only 1 different bytes"),
        ("secret", b"secret!" * 8, "only 6 different bytes"),
        ("private", bytes(32), "all zeros"),
        ("private", SECRET[:31], "has 31 bytes, and a private key of ed25519 has 32"),
        ("private", SECRET + SECRET, "take the first 32"),
        ("private", b"ab" * 16, "only 2 different bytes"),
        ("public", SECRET[:31], "has 31 bytes, and a public key of ed25519 has 32"),
        ("public", b"\xff" * 31 + b"\x7f", "not a canonical point"),
        ("public", (_P + 1).to_bytes(32, "little"), "not a canonical point"),
        ("public", (2).to_bytes(32, "little"), "not a point of the curve"),
    ],
)
def test_a_weak_key_is_refused_and_not_repeated(kind: Kind, data: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why) as caught:
        key_of(kind, data)
    assert data.hex() not in str(caught.value) or not data


@pytest.mark.parametrize("point", LOW, ids=bytes.hex)
def test_a_point_of_low_order_is_refused(point: bytes) -> None:
    assert "low order" in of_public(point)


def test_the_points_of_low_order_are_all_that_there_are() -> None:
    """The group has eight of them; they share five second coordinates."""
    found = {y for y in _LOW_ORDER if _times_eight_is_neutral(y)}
    assert found == _LOW_ORDER
    assert len(found) == 5


def test_random_keys_are_good_ones() -> None:
    for _ in range(64):
        seed = secrets.token_bytes(31) + b"\x01"
        key_of("secret", seed)
        public = key_of("private", seed).public()
        assert public is not None
        assert of_public(public.reveal()) == ""


def test_a_key_never_shows_itself() -> None:
    for kind in ("secret", "private"):
        assert SECRET.hex() not in repr(a_key(kind))
        assert repr(SECRET) not in repr(a_key(kind))


# ── the curve, as its definition says ────────────────────────────────────────


def _times_eight_is_neutral(y: int) -> bool:
    point = (_x_of(y), y)
    for _ in range(3):
        point = _added(point, point)
    return point == (0, 1)


def _x_of(y: int) -> int:
    square = (y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P
    x = pow(square, (_P + 3) // 8, _P)
    if (x * x - square) % _P:
        x = x * pow(2, (_P - 1) // 4, _P) % _P
    assert (x * x - square) % _P == 0
    return x


def _added(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
    (x1, y1), (x2, y2) = a, b
    both = _D * x1 * x2 * y1 * y2
    x3 = (x1 * y2 + x2 * y1) * pow(1 + both, -1, _P) % _P
    y3 = (y1 * y2 + x1 * x2) * pow(1 - both, -1, _P) % _P
    return x3, y3

"""What is wrong with the bytes of a key. Pure: bytes in, a sentence or nothing out.

Rule of this module: a sentence tells the length of a key and nothing else of it.
"""

from __future__ import annotations

from typing import Final

__all__ = ["of_private", "of_public", "of_secret"]

_LENGTH: Final = 32
_FEWEST_DISTINCT: Final = 8
"""Random bytes have about 30 distinct ones in 32; a typed or repeated text has few."""

_P: Final = 2**255 - 19
_D: Final = -121665 * pow(121666, -1, _P) % _P
_Y8: Final = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
_LOW_ORDER: Final = frozenset({0, 1, _P - 1, _Y8, _P - _Y8})
"""The second coordinates of all points of order 1, 2, 4 and 8: what "signs" with one of
them can be made by anybody."""


def of_secret(key: bytes) -> str:
    """Return what is wrong with a secret of HMAC-SHA256; empty if nothing is."""
    if len(key) < _LENGTH:
        return f"the key has {len(key)} bytes, and at least {_LENGTH} are needed"
    if key[-1] == 0:
        # HMAC fills up with zeros, so this key and a shorter one make the same signatures.
        return "the key ends with a zero byte, which HMAC cannot tell from a shorter key"
    return _of_randomness(key)


def of_private(key: bytes) -> str:
    """Return what is wrong with a private key of Ed25519, which is its 32-byte seed."""
    if len(key) == 2 * _LENGTH:
        return "the key has 64 bytes: take the first 32, which are the private key (the seed)"
    if len(key) != _LENGTH:
        return f"the key has {len(key)} bytes, and a private key of ed25519 has {_LENGTH}"
    return _of_randomness(key)


def of_public(key: bytes) -> str:
    """Return what is wrong with a public key of Ed25519."""
    if len(key) != _LENGTH:
        return f"the key has {len(key)} bytes, and a public key of ed25519 has {_LENGTH}"
    y = int.from_bytes(key, "little") & (2**255 - 1)
    if y >= _P:
        return "the key is not a canonical point"
    if y in _LOW_ORDER:
        return "the key is a point of low order, under which anybody can sign"
    if not _is_on_curve(y):
        return "the key is not a point of the curve: no private key belongs to it"
    return ""


def _of_randomness(key: bytes) -> str:
    if not any(key):
        return "the key is all zeros"
    distinct = len(set(key))
    if distinct < _FEWEST_DISTINCT:
        return f"the key has only {distinct} different bytes: it is not random"
    return ""


def _is_on_curve(y: int) -> bool:
    """Return whether an x belongs to *y*: x² = (y² - 1) / (d·y² + 1) is a square."""
    square = (y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P
    return square == 0 or pow(square, (_P - 1) // 2, _P) == 1

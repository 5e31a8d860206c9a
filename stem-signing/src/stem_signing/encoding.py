"""Base64 and fingerprints: the one spelling that a key has, and what may be shown of it.

Rule of this module: no error repeats what it was given, for it may be a key.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Final

__all__ = ["decoded", "encoded", "fingerprint"]

_SHOWN: Final = 16
"""Hexadecimal digits of a fingerprint: 64 bits tell keys apart and give none away."""


def decoded(text: str) -> bytes:
    """Return the bytes of standard, padded, canonical base64.

    Raises:
        ValueError: it is anything else. The lax reader of the standard library takes
            ``####`` for an empty key, and several spellings for one key.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        raise ValueError("the key is not base64") from None
    if encoded(data) != text:
        raise ValueError("the key is not canonical base64")
    return data


def encoded(data: bytes) -> str:
    """Return *data* in standard base64 with its padding."""
    return base64.b64encode(data).decode()


def fingerprint(algorithm: str, data: bytes) -> str:
    """Return what people compare instead of a key: a hash of *data*, cut, never the key.

    Of a key pair *data* is the public half, so both halves have one fingerprint.
    """
    text = f"stem.fingerprint.v1\n{algorithm}\n".encode()
    return hashlib.sha256(text + data).hexdigest()[:_SHOWN]

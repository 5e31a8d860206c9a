"""The toy service: one file for each key, which never leaves this module."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

__all__ = ["Service"]


class Service:
    """Computes message authentication codes with the keys in a folder."""

    def __init__(self, folder: Path) -> None:
        """Raise `OSError` if there is no such folder, `ValueError` if a key is too short."""
        self._keys = {path.stem: path.read_bytes() for path in sorted(folder.glob("*.key"))}
        for name, key in self._keys.items():
            if len(key) < 32:
                raise ValueError(f"the key {name} is shorter than 32 bytes")

    def names(self) -> list[str]:
        """Return the ids of all keys."""
        return list(self._keys)

    def mac(self, key_id: str, data: bytes) -> bytes:
        """Return the code over *data*."""
        return hmac.digest(self._keys[key_id], data, hashlib.sha256)

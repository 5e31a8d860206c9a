"""Where the keys are: a folder with a file for each. Put your key service here.

Rule of this module: no other one sees the bytes of a key.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from pathlib import Path

from stem_core.plugin import ConfigError

_SHORTEST = 32


class Keys:
    """The keys of a folder, by the names of their files without ``.key``."""

    def __init__(self, folder: Path) -> None:
        """Read the keys.

        Raises:
            ConfigError: there is none, one cannot be read, or one is too short to be safe.
        """
        try:
            self._keys = {path.stem: path.read_bytes() for path in sorted(folder.glob("*.key"))}
        except OSError as error:
            raise ConfigError(f"{folder}: {error.strerror}") from None
        if not self._keys:
            raise ConfigError(
                f"there is no key in {folder}",
                way_out=f"Make one: head -c {_SHORTEST} /dev/urandom > {folder}/orders-1.key",
            )
        for name, key in self._keys.items():
            if len(key) < _SHORTEST:
                raise ConfigError(f"{folder}: the key {name} is shorter than {_SHORTEST} bytes")

    @property
    def names(self) -> Sequence[str]:
        """The ids of all keys."""
        return list(self._keys)

    def mac(self, name: str, data: bytes) -> bytes:
        """Return the authentication code of the key *name* over *data*."""
        return hmac.digest(self._keys[name], data, hashlib.sha256)

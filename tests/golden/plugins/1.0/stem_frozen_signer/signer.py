"""The signer: one key signs, all keys verify, so that a key can be replaced while tasks wait."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self

import stem_core.plugin as stem

from stem_frozen_signer.keys import Keys
from stem_frozen_signer.options import FrozenSignerOptions

ALGORITHM: Final = "frozen-signer-hmac-sha256"


class FrozenSignerSigner(stem.Signer):
    """``frozen-signer:///folder?key=id``."""

    def __init__(self, keys: Keys, key_id: str = "") -> None:
        self._keys, self._key_id = keys, key_id

    @classmethod
    def open(cls, url: stem.StemURL, options: FrozenSignerOptions, context: stem.PluginContext) -> Self:
        """Read the keys of the folder that *url* names."""
        if url.hosts or not url.path.strip("/"):
            raise stem.InvalidURL(f"{url} names no folder", way_out="Write frozen-signer:///a/folder.")
        keys = Keys(Path(url.path))
        if options.key and options.key not in keys.names:
            raise stem.ConfigError(
                f"frozen-signer:// has no key {options.key!r}",
                way_out=f"There are: {', '.join(keys.names)}.",
            )
        return cls(keys, options.key)

    @property
    def can_sign(self) -> bool:
        """True when the URL names a key."""
        return bool(self._key_id)

    @property
    def key_ids(self) -> Sequence[str]:
        """The one that signs first."""
        others = [name for name in self._keys.names if name != self._key_id]
        return [self._key_id, *others] if self._key_id else others

    def sign(self, purpose: str, body: bytes) -> stem.Seal:
        """Sign *body*. This runs in the event loop and must not wait for a network."""
        if not self._key_id:
            raise stem.SignatureError(
                "no key was chosen to sign with", way_out="Add ?key= to the URL."
            )
        return stem.Seal(ALGORITHM, self._key_id, self._mac(purpose, self._key_id, body))

    def verify(self, purpose: str, body: bytes, seal: stem.Seal) -> None:
        """Refuse what no key here vouches for, always in the same words: they help no forger."""
        if seal.is_empty:
            raise stem.SignatureMissing("nobody signed this")
        if why := self._fault(purpose, body, seal):
            raise stem.SignatureInvalid("the signature does not vouch for this", why=why)

    def _fault(self, purpose: str, body: bytes, seal: stem.Seal) -> str:
        """Say what is wrong, for the log of the worker; empty if nothing is."""
        if seal.key_id not in self._keys.names:
            return "unknown-key"
        if seal.algorithm != ALGORITHM:
            return "another-algorithm"
        expected = self._mac(purpose, seal.key_id, body)
        return "" if hmac.compare_digest(expected, seal.signature) else "wrong-signature"

    def _mac(self, purpose: str, key_id: str, body: bytes) -> bytes:
        # Purpose, algorithm and key are inside, so a signature fits nowhere else.
        return self._keys.mac(key_id, stem.pae(purpose, ALGORITHM, key_id, body))

"""A signer that asks a service for every signature."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self

from attrs import frozen

from kms_signer.service import Service
from stem_core.plugin import (
    ConfigError,
    InvalidURL,
    PluginContext,
    Seal,
    SignatureError,
    SignatureInvalid,
    SignatureMissing,
    Signer,
    StemURL,
    pae,
)

__all__ = ["KmsOptions", "KmsSigner"]

ALGORITHM: Final = "filekms-hmac-sha256"


@frozen(kw_only=True)
class KmsOptions:
    """Options of ``filekms:///path?…``.

    Attributes:
        key: the id of the key that signs; without it this process only verifies.
    """

    key: str = ""


class KmsSigner(Signer):
    """Signs with one key of the service and verifies with all of them."""

    def __init__(self, service: Service, key_id: str = "") -> None:
        self._service = service
        self._key_id = key_id

    @classmethod
    def open(cls, url: StemURL, options: KmsOptions, context: PluginContext) -> Self:
        """Connect to the service that *url* names.

        Raises:
            InvalidURL: *url* names no folder.
            ConfigError: there are no usable keys in it, or not the one that is to sign.
        """
        if url.hosts or url.path in ("", "/"):
            raise InvalidURL(f"{url} names no folder", way_out="Write filekms:///path/to/keys.")
        try:
            service = Service(Path(url.path))
        except (OSError, ValueError) as error:
            raise ConfigError(f"{url.scheme}: {error}") from None
        if not service.names():
            raise ConfigError(f"{url.scheme}: there is no key in {url.path!r}")
        if options.key and options.key not in service.names():
            raise ConfigError(f"{url.scheme}: there is no key {options.key!r}")
        return cls(service, options.key)

    @property
    def can_sign(self) -> bool:
        """True when a key was chosen."""
        return bool(self._key_id)

    @property
    def key_ids(self) -> Sequence[str]:
        """The chosen key first."""
        others = [name for name in self._service.names() if name != self._key_id]
        return [self._key_id, *others] if self._key_id else others

    def sign(self, purpose: str, body: bytes) -> Seal:
        """Ask the service."""
        if not self._key_id:
            raise SignatureError("no key was chosen to sign with", way_out="Add ?key= to the URL.")
        return Seal(ALGORITHM, self._key_id, self._mac(purpose, self._key_id, body))

    def verify(self, purpose: str, body: bytes, seal: Seal) -> None:
        """Ask the service for what the signature should be, and compare."""
        if seal.is_empty:
            raise SignatureMissing("nobody signed this")
        why = self._fault(purpose, body, seal)
        if why:
            raise SignatureInvalid("the signature does not vouch for this", why=why)

    def _fault(self, purpose: str, body: bytes, seal: Seal) -> str:
        if seal.key_id not in self._service.names():
            return "unknown-key"
        if seal.algorithm != ALGORITHM:
            return "another-algorithm"
        expected = self._mac(purpose, seal.key_id, body)
        return "" if hmac.compare_digest(expected, seal.signature) else "wrong-signature"

    def _mac(self, purpose: str, key_id: str, body: bytes) -> bytes:
        return self._service.mac(key_id, pae(purpose, ALGORITHM, key_id, body))

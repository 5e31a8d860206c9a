"""The two halves of an Ed25519 key, by the `cryptography` library.

Rule of this module: whether bytes can be a key is judged before they come here.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from stem_signing.encoding import fingerprint
from stem_signing.keys import ED25519, Algorithm, Key, Kind

__all__ = ["PrivateKey", "PublicKey"]


class PublicKey:
    """The half that verifies and cannot sign: all that a worker needs."""

    algorithm: Algorithm = ED25519
    kind: Kind = "public"
    can_sign = False

    __slots__ = ("_bytes", "_verify", "fingerprint")

    def __init__(self, data: bytes) -> None:
        self._bytes = data
        self._verify = Ed25519PublicKey.from_public_bytes(data).verify
        self.fingerprint = fingerprint(ED25519, data)

    def sign(self, data: bytes) -> bytes:
        """Raise: nobody asks a key that cannot sign."""
        raise TypeError("a public key does not sign")

    def verify(self, data: bytes, signature: bytes) -> bool:
        """Ask the library, which takes one spelling of a signature and no other."""
        try:
            self._verify(signature, data)
        except InvalidSignature:
            return False
        return True

    def reveal(self) -> bytes:
        """Return the public key, which is no secret."""
        return self._bytes

    def public(self) -> Key:
        """Return this key."""
        return self


class PrivateKey:
    """The half that signs; it verifies as its public half does."""

    algorithm: Algorithm = ED25519
    kind: Kind = "private"
    can_sign = True

    __slots__ = ("_public", "_seed", "_sign", "fingerprint", "verify")

    def __init__(self, seed: bytes) -> None:
        private = Ed25519PrivateKey.from_private_bytes(seed)
        self._seed = seed
        self._sign = private.sign
        self._public = PublicKey(private.public_key().public_bytes_raw())
        self.fingerprint = self._public.fingerprint
        self.verify = self._public.verify

    def sign(self, data: bytes) -> bytes:
        """Return the 64 bytes of the signature over *data*."""
        return self._sign(data)

    def reveal(self) -> bytes:
        """Return the seed."""
        return self._seed

    def public(self) -> Key:
        """Return the public half."""
        return self._public

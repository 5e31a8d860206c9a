"""Keys: bytes that know their algorithm.

Rule of this module: a key is judged where it is made, so one that exists is a good one.
The `cryptography` library is imported when the first key is made.
"""

from __future__ import annotations

from collections.abc import Callable
from hmac import compare_digest
from typing import Any, Final, Literal, Protocol, TypeAlias

from stem_signing import weakness
from stem_signing.encoding import fingerprint

__all__ = ["ED25519", "HMAC", "Algorithm", "HmacKey", "Key", "Kind", "key_of"]

Algorithm: TypeAlias = Literal["hmac-sha256", "ed25519"]
Kind: TypeAlias = Literal["secret", "private", "public"]
"""What the bytes are: a shared secret, or one half of a pair. It decides the algorithm."""

HMAC: Final[Algorithm] = "hmac-sha256"
ED25519: Final[Algorithm] = "ed25519"


class Key(Protocol):
    """What makes and checks signatures over bytes; see `key_of`."""

    @property
    def algorithm(self) -> Algorithm:
        """The only algorithm that it is used with."""
        ...

    @property
    def kind(self) -> Kind:
        """Which bytes it was made of."""
        ...

    @property
    def can_sign(self) -> bool:
        """False for a public key."""
        ...

    @property
    def fingerprint(self) -> str:
        """What may be shown of it."""
        ...

    def sign(self, data: bytes) -> bytes:
        """Return the signature over *data*. Only for a key that can."""
        ...

    def verify(self, data: bytes, signature: bytes) -> bool:
        """Return whether this key made *signature* over *data*, in constant time."""
        ...

    def reveal(self) -> bytes:
        """Return the bytes, to be written into a key file and nowhere else."""
        ...

    def public(self) -> Key | None:
        """Return the half that may be shown; None when there is none."""
        ...


class HmacKey:
    """A secret that signs and verifies: whoever can check a signature can make one."""

    algorithm: Algorithm = HMAC
    kind: Kind = "secret"
    can_sign = True

    __slots__ = ("_keyed", "_secret", "fingerprint")

    def __init__(self, secret: bytes) -> None:
        _refuse(weakness.of_secret(secret))
        self._secret = secret
        self._keyed = _keyed(secret)
        self.fingerprint = fingerprint(HMAC, secret)

    def sign(self, data: bytes) -> bytes:
        """Return the 32 bytes of the code over *data*."""
        code = self._keyed.copy()
        code.update(data)
        made: bytes = code.finalize()
        return made

    def verify(self, data: bytes, signature: bytes) -> bool:
        """Compare in constant time."""
        return compare_digest(self.sign(data), signature)

    def reveal(self) -> bytes:
        """Return the secret."""
        return self._secret

    def public(self) -> Key | None:
        """There is none: this algorithm has one key for both."""
        return None


def _keyed(secret: bytes) -> Any:
    """Return what is copied for each code: a quarter of the time that a new one takes."""
    from cryptography.hazmat.primitives import hashes, hmac

    return hmac.HMAC(secret, hashes.SHA256())


def key_of(kind: Kind, data: bytes) -> Key:
    """Return the key that *data* is.

    Raises:
        ValueError: it is empty, weak, too short, too long, or a point that must not be.
    """
    if not data:
        raise ValueError("the key is empty")
    if kind == "secret":
        return HmacKey(data)
    make, fault = _PAIRS[kind]
    _refuse(fault(data))
    return make(data)


def _refuse(why: str) -> None:
    if why:
        raise ValueError(why)


def _private(data: bytes) -> Key:
    from stem_signing.pairs import PrivateKey

    return PrivateKey(data)


def _public(data: bytes) -> Key:
    from stem_signing.pairs import PublicKey

    return PublicKey(data)


_PAIRS: Final[dict[str, tuple[Callable[[bytes], Key], Callable[[bytes], str]]]] = {
    "private": (_private, weakness.of_private),
    "public": (_public, weakness.of_public),
}

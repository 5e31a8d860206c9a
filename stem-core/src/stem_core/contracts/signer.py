"""The signer contract: vouching for bytes.

Pure and synchronous: no I/O, no parsing. What is signed is
`pae(purpose, algorithm, key_id, body)` of `stem_core.model.seal`, so a signature
made for one purpose, key or algorithm never fits another.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from stem_core.model.seal import Seal

__all__ = ["Signer"]


class Signer(ABC):
    """Makes and checks detached signatures."""

    @property
    @abstractmethod
    def can_sign(self) -> bool:
        """True with a signing key; a verify-only signer is complete for a worker."""

    @property
    @abstractmethod
    def key_ids(self) -> Sequence[str]:
        """The keys that verify, the active signing key first."""

    @abstractmethod
    def sign(self, purpose: str, body: bytes) -> Seal:
        """Sign *body* for *purpose* with the active key.

        [SIGN-1] Covers purpose, algorithm, key id and every byte of the body.
        [SIGN-2] Without a signing key it raises `SignatureError`.
        """

    @abstractmethod
    def verify(self, purpose: str, body: bytes, seal: Seal) -> None:
        """Return if *seal* vouches for *body*, else raise.

        [VERIFY-1] `SignatureMissing` for an empty seal, `SignatureInvalid` for all else:
        unknown or revoked key, another algorithm than the key's, any changed byte.
        [VERIFY-2] Compares in constant time, and its error does not tell which check failed;
        its attribute `why` may, for the log of whoever verifies.
        """

    def check_scope(self, key_id: str, *, task: str, queue: str) -> None:
        """Return if the key *key_id* may vouch for *task* in *queue*, else raise.

        Asked of what `verify` has accepted. A signer whose keys have no scopes need not
        say anything.

        Raises:
            SignatureInvalid: it may not.
        """
        return

    def reload(self) -> None:
        """Read the keys again, where they can change while a process runs.

        Called by an operator's SIGHUP, in any thread. A signer that notices by itself, or
        has nothing to read, need not do anything.

        Raises:
            ConfigError: they cannot be used now; the old ones stay in use.
        """
        return

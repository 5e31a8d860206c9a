"""Signatures for Stem: HMAC-SHA256 and Ed25519, with keyrings that rotate while work goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stem_signing.keyring import Entry as Entry
    from stem_signing.keyring import Keyring as Keyring
    from stem_signing.signer import KeyringSigner as KeyringSigner

__all__ = ["Entry", "Keyring", "KeyringSigner"]

_HOMES = {
    "Entry": "stem_signing.keyring",
    "Keyring": "stem_signing.keyring",
    "KeyringSigner": "stem_signing.signer",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)

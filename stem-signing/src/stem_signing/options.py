"""What the URL of a signer may say after its ``?``."""

from __future__ import annotations

from attrs import frozen

__all__ = ["SigningOptions"]


@frozen(kw_only=True)
class SigningOptions:
    """Options of ``ed25519+file:///run/keys.toml?…``.

    Attributes:
        active: the id of the key that signs, whatever the file or the variables say.
    """

    active: str = ""

"""What a `frozen-signer://` URL may say after its `?`."""

from __future__ import annotations

from attrs import frozen


@frozen(kw_only=True)
class FrozenSignerOptions:
    """Options of ``frozen-signer:///folder?…``. Stem reads them by their types, and refuses others.

    Attributes:
        key: the id of the key that signs; without it this process can only verify.
    """

    key: str = ""

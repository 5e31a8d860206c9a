"""What `frozen-signer://` offers. It is imported before anybody knows whether the URL is right,

so it imports nothing heavy: no driver, and no other module of this package.
"""

from __future__ import annotations

from collections.abc import Sequence

from stem_core.plugin import SignerSpec, hookimpl

STEM_PLUGIN_API = (1, 0)


@hookimpl
def stem_register_signers() -> Sequence[SignerSpec]:
    """The signer."""
    return [
        SignerSpec(
            schemes=("frozen-signer",),
            factory="stem_frozen_signer.signer:FrozenSignerSigner",
            options="stem_frozen_signer.options:FrozenSignerOptions",
            summary="HMAC-SHA256 with the keys of a folder",
            examples=("frozen-signer:///run/secrets/stem?key=orders-1",),
        )
    ]

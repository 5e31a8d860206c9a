"""What `filekms://` offers. Nothing else of this package is imported here."""

from __future__ import annotations

from collections.abc import Sequence

from stem_core.plugin import SignerSpec, hookimpl

STEM_PLUGIN_API = (1, 0)


@hookimpl
def stem_register_signers() -> Sequence[SignerSpec]:
    """The signer."""
    return [
        SignerSpec(
            schemes=("filekms",),
            factory="kms_signer.signer:KmsSigner",
            options="kms_signer.signer:KmsOptions",
            summary="keys that stay in a toy key management service",
            examples=("filekms:///path/to/keys?key=orders-1",),
        )
    ]

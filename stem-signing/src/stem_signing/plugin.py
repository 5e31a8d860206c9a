"""What stem-signing offers. Neither keys nor their library are imported here."""

from __future__ import annotations

from collections.abc import Sequence

from stem_core.plugin import SignerSpec, hookimpl

STEM_PLUGIN_API = (1, 0)


@hookimpl
def stem_register_signers() -> Sequence[SignerSpec]:
    """Signers of keys in variables or in a key file."""
    return [
        SignerSpec(
            schemes=("hmac-sha256", "ed25519"),
            variants=("env", "file"),
            factory="stem_signing.factory:SigningFactory",
            options="stem_signing.options:SigningOptions",
            summary="detached signatures by keys in variables or in a key file",
            examples=(
                "ed25519+file:///run/secrets/stem-keys.toml",
                "hmac-sha256+file:///run/secrets/stem-keys.toml",
                "ed25519+env://SHOP",
                "hmac-sha256+env://SHOP",
            ),
        )
    ]

"""What `none://` offers."""

from __future__ import annotations

from stem_core.contracts.hookspecs import BackendSpec, SignerSpec, hookimpl

STEM_PLUGIN_API = (1, 0)


@hookimpl
def stem_register_backends() -> list[BackendSpec]:
    """No result backend."""
    return [
        BackendSpec(
            schemes=("none",),
            factory="stem_core.embedded.none.nothing:NoBackend",
            summary="No results are kept",
            examples=("none://",),
        )
    ]


@hookimpl
def stem_register_signers() -> list[SignerSpec]:
    """No signer."""
    return [
        SignerSpec(
            schemes=("none",),
            factory="stem_core.embedded.none.nothing:NoSigner",
            summary="Nothing is signed or verified",
            examples=("none://",),
        )
    ]

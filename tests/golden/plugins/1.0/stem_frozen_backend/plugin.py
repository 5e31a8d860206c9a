"""What `frozen-backend://` offers. It is imported before anybody knows whether the URL is right,

so it imports nothing heavy: no driver, and no other module of this package.
"""

from __future__ import annotations

from collections.abc import Sequence

from stem_core.plugin import BackendSpec, hookimpl

STEM_PLUGIN_API = (1, 0)


@hookimpl
def stem_register_backends() -> Sequence[BackendSpec]:
    """The result backend."""
    return [
        BackendSpec(
            schemes=("frozen-backend",),
            factory="stem_frozen_backend.backend:FrozenBackendBackend",
            options="stem_frozen_backend.options:FrozenBackendOptions",
            summary="a directory with a file for each result",
            examples=("frozen-backend:///var/lib/shop/frozen-backend?poll=50ms",),
        )
    ]

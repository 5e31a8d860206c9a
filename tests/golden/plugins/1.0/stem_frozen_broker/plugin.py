"""What `frozen-broker://` offers. It is imported before anybody knows whether the URL is right,

so it imports nothing heavy: no driver, and no other module of this package.
"""

from __future__ import annotations

from collections.abc import Sequence

from stem_core.plugin import BrokerSpec, hookimpl

STEM_PLUGIN_API = (1, 0)


@hookimpl
def stem_register_brokers() -> Sequence[BrokerSpec]:
    """The broker."""
    return [
        BrokerSpec(
            schemes=("frozen-broker",),
            factory="stem_frozen_broker.broker:FrozenBrokerBroker",
            options="stem_frozen_broker.options:FrozenBrokerOptions",
            summary="a directory with a file for each message",
            examples=("frozen-broker:///var/lib/shop/frozen-broker?poll=50ms",),
        )
    ]

"""What `nats://` offers. Nothing else of this package, and no driver, is imported here."""

from __future__ import annotations

from collections.abc import Sequence

from stem_core.plugin import BackendSpec, BrokerSpec, hookimpl

STEM_PLUGIN_API = (1, 0)

_OPTIONS = "nats_broker.options:NatsOptions"
_SUMMARY = "messages and results in one stream of NATS JetStream"
_EXAMPLES = ("nats://localhost:4222", "nats://shop:secret@n1:4222,n2:4222,n3:4222?replicas=3")


@hookimpl
def stem_register_brokers() -> Sequence[BrokerSpec]:
    """The broker."""
    return [
        BrokerSpec(
            schemes=("nats",),
            factory="nats_broker.broker:NatsBroker",
            options=_OPTIONS,
            summary=_SUMMARY,
            examples=_EXAMPLES,
        )
    ]


@hookimpl
def stem_register_backends() -> Sequence[BackendSpec]:
    """The result backend: with a broker of the same URL it is one store."""
    return [
        BackendSpec(
            schemes=("nats",),
            factory="nats_broker.backend:NatsBackend",
            options=_OPTIONS,
            summary=_SUMMARY,
            examples=_EXAMPLES,
        )
    ]

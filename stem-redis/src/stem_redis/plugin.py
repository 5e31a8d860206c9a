"""What `redis://` offers. Nothing of the adapter, nor the driver, is imported here."""

from __future__ import annotations

from collections.abc import Sequence

from stem_core.plugin import BackendSpec, BrokerSpec, hookimpl

STEM_PLUGIN_API = (1, 0)

_SCHEMES = ("redis", "rediss")
_VARIANTS = ("unix", "sentinel")
_OPTIONS = "stem_redis.options:RedisOptions"
_EXAMPLES = (
    "redis://localhost:6379/0",
    "rediss://user:password@redis.example:6380/0",
    "redis+unix:///run/redis/redis.sock?db=1",
    "redis+sentinel://s1:26379,s2:26379/mymaster/0",
)


@hookimpl
def stem_register_brokers() -> Sequence[BrokerSpec]:
    """The broker for many machines."""
    return [
        BrokerSpec(
            schemes=_SCHEMES,
            variants=_VARIANTS,
            factory="stem_redis.broker:RedisStreamsBroker",
            options=_OPTIONS,
            summary="messages at Redis 6.2+ or Valkey 7.2+, settled with their results in one step",
            examples=_EXAMPLES,
        )
    ]


@hookimpl
def stem_register_backends() -> Sequence[BackendSpec]:
    """The result backend for many machines."""
    return [
        BackendSpec(
            schemes=_SCHEMES,
            variants=_VARIANTS,
            factory="stem_redis.backend:RedisResultBackend",
            options=_OPTIONS,
            summary="results at Redis 6.2+ or Valkey 7.2+, pushed to whoever waits",
            examples=_EXAMPLES,
        )
    ]

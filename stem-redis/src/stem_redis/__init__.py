"""Redis and Valkey for Stem: a broker and a result backend, settled together in one step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stem_redis.backend import RedisResultBackend as RedisResultBackend
    from stem_redis.broker import RedisStreamsBroker as RedisStreamsBroker

__all__ = ["RedisResultBackend", "RedisStreamsBroker"]

_HOMES = {
    "RedisResultBackend": "stem_redis.backend",
    "RedisStreamsBroker": "stem_redis.broker",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)

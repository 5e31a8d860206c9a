"""Publishing that replicas confirm: ``WAIT`` behind the script, sent together with it.

An option, for a failover loses what the primary had accepted and not yet copied. Rule of this
module: what is not confirmed is done all the same, at the primary, and may be sent again. A
script that is confirmed must write also then, as publish.lua does with its turn: ``WAIT`` asks
about what its own connection has written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import ResponseError

from stem_core.plugin import ConfigError, StoreUnavailable

if TYPE_CHECKING:
    from stem_redis.line import Arg, Line
    from stem_redis.options import RedisOptions

__all__ = ["check_confirming", "confirmed", "unconfirmed"]

_WAIT_MS: Final = 100


def check_confirming(options: RedisOptions) -> None:
    """Refuse options that make no sense.

    Raises:
        ConfigError: names the option and the value.
    """
    replicas, wait_ms = options.wait_replicas, options.wait_ms
    if replicas < 0:
        raise ConfigError(f"wait_replicas={replicas}: so many replicas confirm; 0 for none")
    if wait_ms is not None and wait_ms <= 0:
        raise ConfigError(
            f"wait_ms={wait_ms}: must be above 0, which the server takes for waiting for ever"
        )
    if wait_ms is not None and not replicas:
        raise ConfigError(
            f"wait_ms={wait_ms} says how long to wait for replicas, and none is waited for",
            way_out="Say how many with wait_replicas=1, or leave it out.",
        )


def _wait_ms_of(options: RedisOptions) -> int:
    """Return how long replicas have."""
    return options.wait_ms or _WAIT_MS


async def confirmed(line: Line, options: RedisOptions, *args: Arg) -> tuple[Any, int]:
    """Return the reply to a command, and how many replicas have what was written until then.

    Raises:
        ResponseError: the server's answer to the command, or else to ``WAIT``, is an error.
        StoreError: see `Line.call`.
    """
    wait_ms, error = _wait_ms_of(options), None
    # Nothing waits between these two, so the first reply is that of the command.
    line.send(*args)
    try:
        reply = await line.call("WAIT", options.wait_replicas, wait_ms, within_ms=options.timeout)
    except ResponseError as refusal:
        reply, error = None, refusal
    try:
        count = await line.rest(within_ms=options.timeout + wait_ms)
    except ResponseError as refusal:
        count, error = 0, error or refusal
    if error is not None:
        raise error
    return reply, count


def unconfirmed(shown: str, options: RedisOptions, count: int) -> StoreUnavailable:
    """Return the error of a step that only *count* replicas have."""
    wanted, plural = options.wait_replicas, "s" * (options.wait_replicas > 1)
    return StoreUnavailable(
        f"{shown}: not confirmed by {wanted} replica{plural} within "
        f"{_wait_ms_of(options)} ms ({count} did). The primary has it, and a failover may still "
        "lose it; to send it again with the same id does no harm"
    )

"""How one worker works, and what that and its stores promise."""

from __future__ import annotations

import logging
from typing import Any

from attrs import frozen

from stem_core.contracts.observer import Observer
from stem_core.contracts.signer import Signer
from stem_core.producer.lane import Lane
from stem_core.producer.vetting import SigningPolicy, caution

__all__ = ["Terms", "promises", "say_what_is_sure"]

_log = logging.getLogger("stem.worker")


@frozen(kw_only=True)
class Terms:
    """How one worker works; see `Worker`. *prefetch* is a multiple of *concurrency*, and
    *signing* what it asks of signatures."""

    worker: str
    concurrency: int
    prefetch: int
    threads: int
    grace_ms: int
    observers: tuple[Observer, ...] = ()
    signing: SigningPolicy | None = None


def promises(terms: Terms, lane: Lane) -> dict[str, Any]:
    """Return what is told of a worker when it starts, for programs."""
    return {
        "concurrency": terms.concurrency,
        "durability": lane.capabilities.durability.value,
        "atomic_results": lane.atomic,
    }


def say_what_is_sure(terms: Terms, lane: Lane, signer: Signer | None) -> None:
    """Log what a death of this worker can cost, and what an operator should know."""
    if lane.backend is None:
        results = "no results are kept"
    elif lane.atomic:
        results = "a result commits in one step with the end of its task"
    else:
        results = "a result is saved before its task ends, in a step of its own"
    durability = lane.capabilities.durability.value
    _log.info("worker %s: durability %s; %s", terms.worker, durability, results)
    if told := caution(terms.signing or "require", signer):
        _log.warning("worker %s: %s", terms.worker, told)
    if lane.backend is not None and lane.backend.store_id != lane.broker.store_id:
        _log.warning(
            "worker %s: broker and result backend are different stores, so a crash between "
            "the two steps runs a task again whose result is there",
            terms.worker,
        )

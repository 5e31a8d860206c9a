"""How one worker works, and what that and its stores promise."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from attrs import field, frozen

from stem_core.contracts.observer import Observer
from stem_core.contracts.signer import Signer
from stem_core.producer.lane import Lane
from stem_core.producer.vetting import SigningPolicy, caution
from stem_core.worker.isolation.terms import ChildTerms

__all__ = ["Terms", "promises", "say_what_is_sure"]

_log = logging.getLogger("stem.worker")


@frozen(kw_only=True)
class Terms:
    """How one worker works; see `Worker`.

    Attributes:
        prefetch: a multiple of *concurrency*.
        max_run_ms: how long a task without a hard time limit may run.
        stall_limit_ms: how long a task may block the loop.
        poll_limit_ms: how long the broker may be away; 0 for as long as it likes.
        signing: what is asked of signatures.
        children: how its child processes are.
        leave: ends this process with an exit code, from any thread; None where the process
            is not the worker's to end.
    """

    worker: str
    concurrency: int
    prefetch: int
    threads: int
    grace_ms: int
    max_run_ms: int = 3_600_000
    stall_limit_ms: int = 600_000
    poll_limit_ms: int = 3_600_000
    children: ChildTerms = field(factory=ChildTerms)
    leave: Callable[[int], object] | None = None
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

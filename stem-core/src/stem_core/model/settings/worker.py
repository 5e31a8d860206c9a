"""The settings of a worker: how much it takes, and how long it has patience.

Rule of this module: declarations only, as in `config`, of which they are a part.
"""

# ruff: noqa: RUF009 -- `setting` is a field specifier, which ruff cannot know
from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from attrs import frozen

from stem_core.model.duration import Milliseconds
from stem_core.model.settings.environment import setting
from stem_core.model.settings.listening import read_listening
from stem_core.model.settings.readers import read_queues
from stem_core.model.settings.sizes import read_size

__all__ = ["WorkerSettings"]


@frozen(kw_only=True)
class WorkerSettings:
    """What shapes a worker."""

    worker_queues: Mapping[str, int] = setting(
        "STEM_WORKER_QUEUES",
        default={},
        read=read_queues,
        help="Queues that a worker serves; one with a higher weight is asked first more often. "
        "Without it the default queue and those of its tasks.",
        example="billing:8,default",
    )
    worker_concurrency: int = setting(
        "STEM_WORKER_CONCURRENCY",
        default=100,
        minimum=1,
        help="Tasks that one process of a worker runs at a time.",
        example="20",
    )
    worker_processes: int = setting(
        "STEM_WORKER_PROCESSES",
        default=1,
        minimum=1,
        help="Processes of a worker that the `stem` command starts; from 2 on another one "
        "supervises them.",
        example="4",
    )
    worker_grace_ms: Milliseconds = setting(
        "STEM_WORKER_GRACE",
        default=Milliseconds(30_000),
        minimum=0,
        help="How long running tasks may go on when the worker is asked to end.",
        example="2m",
    )
    worker_max_run_ms: Milliseconds = setting(
        "STEM_WORKER_MAX_RUN",
        default=Milliseconds(3_600_000),
        minimum=1_000,
        help="How long a task without a hard time limit may run until its lease is given up.",
        example="6h",
    )
    worker_stall_limit_ms: Milliseconds = setting(
        "STEM_WORKER_STALL_LIMIT",
        default=Milliseconds(600_000),
        minimum=1_000,
        help="How long a task may block the event loop until its worker hands back the rest and "
        "ends with exit code 70.",
        example="1m",
    )
    worker_poll_limit_ms: Milliseconds = setting(
        "STEM_WORKER_POLL_LIMIT",
        default=Milliseconds(3_600_000),
        minimum=0,
        help="How long a worker that cannot poll its broker goes on trying until it ends with "
        "exit code 5; `0s` is for ever.",
        example="10m",
    )
    worker_max_tasks: int | None = setting(
        "STEM_WORKER_MAX_TASKS",
        minimum=1,
        help="Deliveries after which a process of the `stem` command's worker is replaced by a "
        "fresh one; those of one worker take turns, up to a tenth earlier.",
        example="10000",
    )
    worker_max_rss: int | None = setting(
        "STEM_WORKER_MAX_RSS",
        read=read_size,
        help="Resident memory from which on such a process is replaced.",
        example="512M",
    )
    worker_threads: int = setting(
        "STEM_WORKER_THREADS",
        default=8,
        minimum=1,
        help="Threads for tasks that are plain functions.",
        example="16",
    )
    worker_children: int | None = setting(
        "STEM_WORKER_CHILDREN",
        minimum=1,
        help="Processes for tasks with `isolation='process'`, each for one task at a time, in "
        "each process of a worker. Without it one for each processor.",
        example="4",
    )
    worker_child_start: Literal["spawn", "forkserver"] = setting(
        "STEM_WORKER_CHILD_START",
        default="spawn",
        help="How they start: `spawn` begins with nothing; `forkserver` forks one process that "
        "has imported the application, which must start no threads then.",
        example="forkserver",
    )
    worker_child_max_tasks: int | None = setting(
        "STEM_WORKER_CHILD_MAX_TASKS",
        minimum=1,
        help="Tasks after which such a process is replaced.",
        example="1000",
    )
    worker_child_max_rss: int | None = setting(
        "STEM_WORKER_CHILD_MAX_RSS",
        read=read_size,
        help="Resident memory after a task from which on such a process is replaced.",
        example="512M",
    )
    worker_cancel_grace_ms: Milliseconds = setting(
        "STEM_WORKER_CANCEL_GRACE",
        default=Milliseconds(10_000),
        minimum=0,
        help="How long a task with a process of its own may go on when it is cancelled.",
        example="1s",
    )
    worker_http: str | None = setting(
        "STEM_WORKER_HTTP",
        read=read_listening,
        help="Where the `stem` command's worker answers `/livez`, `/readyz` and `/metrics`; "
        "a port alone is for this machine only. Without it nowhere.",
        example="0.0.0.0:8080",
    )
    prefetch_multiplier: int = setting(
        "STEM_PREFETCH_MULTIPLIER",
        default=1,
        minimum=1,
        help="Deliveries that a worker holds, as a multiple of its concurrency.",
        example="2",
    )

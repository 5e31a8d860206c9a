"""The task that `stem demo` runs: what the tasks of any application look like."""

from __future__ import annotations

import hashlib
import os
import time
from typing import Final

from attrs import frozen

from stem_core.cli.demo_journal import note_start
from stem_core.model.errors import Discard
from stem_core.model.retry import RetryPolicy
from stem_core.producer.context import TaskContext
from stem_core.producer.registry import TaskRegistry

__all__ = ["LEASE_MS", "QUEUE", "DeliberateFailure", "FileFacts", "measure", "tasks"]

QUEUE: Final = "demo"
LEASE_MS: Final = 2_000
"""How long a worker that has died keeps others from its tasks; the usual 30 s are long to watch."""

_PATIENCE_S: Final = 20
_LOOK_S: Final = 0.02

_CHUNK: Final = 1 << 20

tasks = TaskRegistry()


class DeliberateFailure(Exception):
    """Raised on purpose, so that a retry can be watched."""


@frozen(kw_only=True)
class FileFacts:
    """What is in a file; *lines* and *words* are counted as `wc` does."""

    size: int
    lines: int
    words: int
    sha256: str


@tasks.task(
    name="demo.measure",
    context=True,
    queue=QUEUE,
    visibility_timeout=LEASE_MS / 1000,
    max_retries=3,
    retry_policy=RetryPolicy(base="400ms", cap="400ms", jitter=False),
)
def measure(
    ctx: TaskContext,
    path: str,
    *,
    journal: str = "",
    failures: int = 0,
    longer_ms: int = 0,
    until: str = "",
) -> FileFacts:
    """Read the file at *path*, whatever its size.

    Args:
        journal: where to note each start, if anywhere.
        failures: how many attempts fail, the first ones.
        longer_ms: how much longer than necessary it takes.
        until: a file that it waits for after that, for some seconds at most.
    """
    if journal:
        note_start(journal, ctx)
    if ctx.attempt <= failures:
        raise DeliberateFailure("on purpose, and tried again")
    time.sleep(longer_ms / 1000)
    if until:
        _wait_for(until)
    try:
        return _measured(path)
    except OSError as error:
        # Nobody can do anything about it by trying again: an end, not a failure.
        raise Discard(error.strerror or type(error).__name__) from error


def _wait_for(path: str) -> None:
    until_s = time.monotonic() + _PATIENCE_S
    while not os.path.exists(path) and time.monotonic() < until_s:
        time.sleep(_LOOK_S)


def _measured(path: str) -> FileFacts:
    digest = hashlib.sha256()
    size = lines = words = 0
    in_word = False
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
            lines += chunk.count(b"\n")
            # A word that began in the last chunk is counted there.
            words += len(chunk.split()) - (in_word and not chunk[:1].isspace())
            in_word = not chunk[-1:].isspace()
    return FileFacts(size=size, lines=lines, words=words, sha256=digest.hexdigest())

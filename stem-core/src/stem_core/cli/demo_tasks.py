"""The task that `stem demo` runs: what the tasks of any application look like."""

from __future__ import annotations

import hashlib
from typing import Final

from attrs import frozen

from stem_core.model.errors import Discard
from stem_core.model.retry import RetryPolicy
from stem_core.producer.context import TaskContext
from stem_core.producer.registry import TaskRegistry

__all__ = ["DeliberateFailure", "FileFacts", "measure", "tasks"]

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
    queue="demo",
    max_retries=3,
    retry_policy=RetryPolicy(base="400ms", cap="400ms"),
)
def measure(ctx: TaskContext, path: str, failures: int = 0) -> FileFacts:
    """Read the file at *path*, whatever its size; the first *failures* attempts fail."""
    if ctx.attempt <= failures:
        raise DeliberateFailure(f"attempt {ctx.attempt} fails on purpose")
    try:
        return _measured(path)
    except OSError as error:
        # Nobody can do anything about it by trying again: an end, not a failure.
        raise Discard(error.strerror or type(error).__name__) from error


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

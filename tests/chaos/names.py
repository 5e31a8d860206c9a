"""What the processes of a trial are told, in their environment and by their tasks."""

from __future__ import annotations

HISTORY = "CHAOS_HISTORY"
FUSE = "CHAOS_FUSE"
LEAK = "CHAOS_LEAK"
"""When it is set, the broker loses what a killed worker held: see `witness.Leaky`."""

PLAIN, FOLLOWED, FAILING, REJECTED = "plain", "followed", "failing", "rejected"
"""How a task ends: it returns; it does and another one follows; it fails at its first
attempt; it goes to the dead letters."""

KINDS = (PLAIN, FOLLOWED, FAILING, REJECTED)

BARREN = "barren"
"""While a file of this name is there, no child of a worker comes up."""

BIRTHS = "births"
"""Each process that imports the application as a worker's child writes its number here."""

FAMILY = "family"
"""What a task has started writes its numbers here."""

SLIP = "slip"
"""Whoever finds a file of this name takes it away, and fails where nobody expects it."""

BEFORE, AFTER = "before", "after"
"""What may stand in that file: whether a fetch fails before it asks, or when it has taken."""

HOST = "CHAOS_HOST"
"""When it is set, the process hears orders where others have their leash."""

NEW = "CHAOS_NEW"
"""When it is set, a worker knows a task that others do not know yet."""

RAISING = "CHAOS_RAISING"
"""When it is set, an observer of a worker fails whenever it is called."""

ENDED = "ended"
"""The exit code of a worker whose process goes on, because its store is there."""

SIGNALS = {"segfault": "SIGSEGV", "abort": "SIGABRT", "kill": "SIGKILL"}
"""The ways in which a task ends its process, and how people are told of each."""

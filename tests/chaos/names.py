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

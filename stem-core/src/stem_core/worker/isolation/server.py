"""Imported by the server that forks children: what it does once, before it forks.

Rule of this module: importing it has an effect, which is why nothing else is in it.
"""

from __future__ import annotations

import signal

from stem_core.worker.isolation.birth import let_the_worker_decide

__all__: list[str] = []

# Service managers signal all processes of a service, and with the server its children die.
signal.signal(signal.SIGTERM, let_the_worker_decide)

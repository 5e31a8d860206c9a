"""What SIGHUP means: the keys are to be read again, or the terminal is gone.

Rule of this module: it imports nothing that a supervisor would not need.
"""

from __future__ import annotations

import logging
import os
import signal
from typing import TYPE_CHECKING

from stem_core.model.errors import ConfigError

if TYPE_CHECKING:
    from stem_core.producer.client import Stem  # a supervisor has none, and needs this module too

__all__ = ["hears_hang_ups", "reload_keys"]

_log = logging.getLogger("stem.worker")


def hears_hang_ups() -> bool:
    """Return whether SIGHUP asks this process to read its keys again.

    On a terminal it says that the terminal is gone, and ends the process as it always
    did; under ``nohup`` it says nothing.
    """
    return not os.isatty(0) and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN


def reload_keys(stem: Stem) -> None:
    """Read the keys of *stem* again; when they cannot be used, say so and keep the old ones."""
    signer = stem.pipeline.signer
    if signer is None:
        _log.info("SIGHUP: there are no keys to read again")
        return
    try:
        signer.reload()
    except ConfigError as error:
        _log.error("SIGHUP: the keys cannot be used now, so the old ones stay: %s", error)
    else:
        _log.info("SIGHUP: keys read again; these verify: %s", ", ".join(signer.key_ids))

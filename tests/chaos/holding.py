"""Another program that keeps a file locked: python -m chaos.holding FILE SECONDS."""

from __future__ import annotations

import os
import sqlite3
import sys
import time

from chaos.names import HISTORY

from stem_core.testing.faults.history import Recorder, What


def hold(file: str, seconds: float, pen: Recorder) -> None:
    """Lock *file* against every writer for *seconds*, and write down from when to when."""
    connection = sqlite3.connect(file, timeout=30, isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    pen.note(What.GONE)
    time.sleep(seconds)
    connection.execute("ROLLBACK")
    pen.note(What.BACK)
    connection.close()


if __name__ == "__main__":
    hold(sys.argv[1], float(sys.argv[2]), Recorder(os.environ[HISTORY]))

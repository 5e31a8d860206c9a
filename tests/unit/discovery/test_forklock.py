"""A lock that another thread held at the moment of a fork is open in the child."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from stem_core.discovery.forklock import ForkSafeLock


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_lock_that_another_thread_holds_is_open_in_the_child() -> None:
    lock, held, done = ForkSafeLock(), threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            done.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # a shut lock ends the child by a signal, and not never
        with lock, lock:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    done.set()
    holder.join()
    assert os.waitstatus_to_exitcode(status) == 0

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
import time

import pytest

from stem_core.model.errors import SoftTimeLimitExceeded
from stem_core.worker.threads import CoroutineInThread, Interrupted, ThreadCall, Threads

where = contextvars.ContextVar("where", default="nowhere")


@pytest.fixture
def threads():
    made = Threads(1, "test")
    yield made
    made.close()


def endless(started: threading.Event):
    def spin():
        started.set()
        while True:
            time.sleep(0.001)

    return spin


def test_a_call_sees_the_context_variables_of_whoever_made_it(threads):
    where.set("here")
    assert threads.submit(ThreadCall(where.get)).result(5) == "here"


@pytest.mark.parametrize(
    ("tell", "raised"),
    [(ThreadCall.soften, SoftTimeLimitExceeded), (ThreadCall.interrupt, Interrupted)],
)
def test_a_running_call_can_be_told_to_end(threads, tell, raised):
    started = threading.Event()
    call = ThreadCall(endless(started))
    future = threads.submit(call)
    assert started.wait(5)
    tell(call)
    with pytest.raises(raised):
        future.result(5)


def test_an_interruption_never_hits_the_next_call_of_the_thread(threads):
    for _ in range(200):
        call = ThreadCall(lambda: None)
        future = threads.submit(call)
        call.interrupt()  # before, while or after it runs
        with contextlib.suppress(Interrupted):
            future.result(5)
        assert threads.submit(ThreadCall(lambda: sum(range(100)))).result(5) == 4950


def test_a_stop_iteration_reaches_the_loop_as_an_error(threads):
    def stop():
        raise StopIteration

    async def main():
        await asyncio.wrap_future(threads.submit(ThreadCall(stop)))

    with pytest.raises(RuntimeError, match="StopIteration"):
        asyncio.run(asyncio.wait_for(main(), 5))


def test_a_coroutine_in_a_thread_has_a_loop_of_its_own(threads):
    async def body():
        await asyncio.sleep(0)
        return threading.current_thread().name

    assert threads.submit(CoroutineInThread(body)).result(5).startswith("test")


def test_a_coroutine_in_a_thread_hears_of_its_soft_limit_where_it_waits(threads):
    started = threading.Event()

    async def body():
        try:
            started.set()
            await asyncio.sleep(60)
        except SoftTimeLimitExceeded:
            return "cleaned up"

    call = CoroutineInThread(body)
    future = threads.submit(call)
    assert started.wait(5)
    call.soften()
    assert future.result(5) == "cleaned up"


def test_calls_share_as_many_threads_as_there_may_be():
    threads = Threads(2, "shared")
    together = threading.Barrier(2)

    def name():
        together.wait(5)
        return threading.current_thread().name

    names = {future.result(5) for future in [threads.submit(ThreadCall(name)) for _ in range(8)]}
    threads.close()
    assert names == {"shared_1", "shared_2"}


def test_closed_threads_drop_what_waits_and_end():
    threads = Threads(1, "closed")
    go, started = threading.Event(), threading.Event()

    def wait():
        started.set()
        go.wait(5)

    running, waiting = threads.submit(ThreadCall(wait)), threads.submit(ThreadCall(wait))
    assert started.wait(5)
    threads.close()
    assert waiting.cancelled()
    go.set()
    running.result(5)
    for thread in threading.enumerate():
        if thread.name.startswith("closed"):
            thread.join(5)
            assert not thread.is_alive()

"""Tasks with processes of their own, in real ones: what they are, how they end, who pays for it."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from integration import caged
from services.server import Server

from stem_core import Stem, TaskCancelled, TaskFailed, Worker
from stem_core.contracts.observer import Event
from stem_core.model.errors import ConfigError
from stem_core.model.outcome import State
from stem_core.observe.health import unready
from stem_core.plugin import StemURL, TlsConfig
from stem_core.producer.registry import TaskRegistry
from stem_core.worker.exits import HANDED_BACK
from stem_postgres.location import location_of
from stem_postgres.migrating import migrate
from stem_postgres.options import PostgresOptions

PATIENCE_S = 30
WAYS = ["segfault", "abort", "exit 0", "exit 1", "kill"]


@pytest.fixture(params=["memory", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    return _told(_url_of(request, tmp_path), monkeypatch, tmp_path)


@pytest.fixture(params=["memory", "sqlite", "redis", "postgres"])
def any_url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    return _told(_url_of(request, tmp_path), monkeypatch, tmp_path)


@pytest.fixture
def sqlite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    return _told(f"sqlite:///{tmp_path}/tasks.db", monkeypatch, tmp_path)


def _url_of(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    match request.param:
        case "memory":
            return f"memory://{tmp_path.name}"
        case "sqlite":
            return f"sqlite:///{tmp_path}/tasks.db"
        case other:
            server: Server = request.getfixturevalue(f"{other}_server")
            if other == "postgres":
                url = StemURL.parse(server.url)
                asyncio.run(migrate(location_of(url, PostgresOptions(), TlsConfig())))
            return server.url


def _told(url: str, monkeypatch: pytest.MonkeyPatch, folder: Path) -> str:
    """Tell the children too, which know nothing but the environment."""
    monkeypatch.setenv("STEM_BROKER_URL", url)
    monkeypatch.setenv("STEM_NAMESPACE", f"caged-{os.getpid()}-{abs(hash(folder.name))}")
    monkeypatch.setenv("STEM_MAX_LAPSES", "2")
    monkeypatch.setenv("STEM_WORKER_CHILDREN", "2")
    return url


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tmp_path)


class Events:
    """What a worker has told."""

    def __init__(self) -> None:
        self.all: list[Event] = []

    def on_event(self, event: Event, /) -> None:
        self.all.append(event)

    def count(self, name: str) -> int:
        return sum(event.name == name for event in self.all)


@asynccontextmanager
async def working(events: Events | None = None, **how: Any) -> AsyncIterator[Stem]:
    """Give a Stem of the application with a worker that runs."""
    made = caged.make()
    observers = [events] if events else []
    worker = Worker(made, app=caged.make, observers=observers, concurrency=30, **how)
    async with asyncio.timeout(PATIENCE_S), made, worker:
        yield made


async def state_of(stem: Stem, id: str) -> State | None:
    status = await stem.status(id)
    return None if status is None else status.state


async def until(is_so: Callable[[], bool]) -> None:
    while not is_so():
        await asyncio.sleep(0.005)


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def gone_after(pids: list[int]) -> bool:
    """Say whether all of *pids* go; rows A9 and H9 of the chaos tests measure how soon."""
    end = time.monotonic() + PATIENCE_S
    while any(lives(pid) for pid in pids):
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True


def noted(folder: str) -> list[int]:
    return [int(line) for line in caged.notes(folder) if line.isdigit()]


# ── what such a task finds ───────────────────────────────────────────────────


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
@pytest.mark.parametrize("name", ["where", "where_a_coroutine"])
def test_a_task_leads_a_process_group_and_session_of_its_own(url, name, method, monkeypatch):
    monkeypatch.setenv("STEM_WORKER_CHILD_START", method)

    async def main():
        async with working():
            return await (await getattr(caged, name).enqueue()).result()

    pid, parent, group, session = asyncio.run(main())
    assert pid != os.getpid()
    assert (group, session) == (pid, pid)
    assert (parent == os.getpid()) is (method == "spawn")
    assert gone_after([pid])


def test_a_plain_function_may_run_an_event_loop(sqlite):
    async def main():
        async with working():
            return await (await caged.runs_a_loop_of_its_own.enqueue()).result()

    assert asyncio.run(main()) == "done"


def test_any_task_can_have_a_process_for_one_call(sqlite):
    async def main():
        async with working():
            job = await caged.inline.using(isolation="process").enqueue(1)
            return await job.result(), await (await caged.inline.enqueue(1)).result()

    elsewhere, here = asyncio.run(main())
    assert here == os.getpid() != elsewhere


def test_the_context_works_as_in_the_worker(url):
    events = Events()

    async def main():
        async with working(events) as stem:
            job = await caged.tells.enqueue(7)
            value = await job.result()
            await until(lambda: events.count("task-succeeded") == 3)
            status = await stem.status(job.id)
            return job.id, value, status

    id, value, status = asyncio.run(main())
    assert value == {"id": id, "attempt": 1, "same": True}
    assert status is not None
    assert status.state is State.SUCCEEDED
    names = [event.task for event in events.all if event.name == "task-succeeded"]
    assert sorted(names) == [
        "integration.caged.inline",
        "integration.caged.tells",
        "integration.caged.where",
    ]


def test_what_a_task_prints_is_no_part_of_what_its_process_says(sqlite, capfd):
    async def main():
        async with working():
            return await (await caged.prints.enqueue("x")).result()

    assert asyncio.run(main()) == "x"
    assert "straight to the descriptor" in capfd.readouterr().out


def test_what_a_task_logs_is_logged_by_the_worker_with_its_task(sqlite, caplog):
    seen: list[str] = []

    class Bound(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            from stem_core import TaskContext

            if record.name == "caged":
                current = TaskContext.current()
                seen.append(current.task if current else "")
            return True

    caplog.handler.addFilter(Bound())

    async def main():
        async with working():
            await (await caged.logs.enqueue("hello")).result()

    with caplog.at_level(logging.INFO):
        asyncio.run(main())
    first, second = [record for record in caplog.records if record.name == "caged"]
    assert (first.getMessage(), first.levelname) == ("it says hello", "WARNING")
    assert first.process != os.getpid()
    assert "KeyError: 'hello'" in (second.exc_text or "")
    assert seen == ["integration.caged.logs"] * 2


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: caged.fails.call("why"), "Local: ('why'"),
        (lambda: caged.exits.call(), "SystemExit: enough"),
        (lambda: caged.returns_nothing_that_can_be_kept.call(), "result-encode-error"),
    ],
)
def test_an_attempt_fails_there_as_it_does_here(sqlite, call, said):
    async def main():
        async with working() as stem:
            [job] = await stem.enqueue_many([call()])
            with pytest.raises(TaskFailed) as failed:
                await job.result()
            return f"{failed.value}".replace("<locals>.", "")

    assert said.split(":")[0] in asyncio.run(main())


def test_a_broker_in_the_memory_of_the_worker_cannot_be_missed(tmp_path, monkeypatch):
    _told(f"memory://{tmp_path.name}", monkeypatch, tmp_path)

    async def main():
        async with working():
            with pytest.raises(TaskFailed, match=r"(?s)lives in its process.*ctx\.enqueue"):
                await (await caged.enqueues_by_itself.enqueue()).result()

    asyncio.run(main())


@pytest.mark.parametrize("commits", [True, False])
def test_a_task_can_settle_itself_in_a_transaction_of_its_own_process(
    commits, request, tmp_path, monkeypatch
):
    request.param = "postgres"
    _told(_url_of(request, tmp_path), monkeypatch, tmp_path)
    events = Events()

    async def main():
        async with working(events) as stem:
            job = await caged.settles_itself.enqueue(commits)
            if not commits:
                with pytest.raises(TaskFailed, match="not committed"):
                    await job.result()
                return None
            value = await job.result()
            await until(lambda: events.count("task-succeeded") == 2)  # its follow-up too
            return value, await state_of(stem, job.id)

    assert asyncio.run(main()) == (("settled", State.SUCCEEDED) if commits else None)


# ── a death costs its own task ───────────────────────────────────────────────


@pytest.mark.parametrize("how", WAYS)
def test_a_task_that_ends_its_process_lapses_and_is_poison_in_the_end(sqlite, folder, how):
    async def main():
        async with working() as stem:
            job = await caged.dies.enqueue(how, folder)
            with pytest.raises(TaskFailed, match="poison"):
                await job.result()
            return await stem.status(job.id)

    status = asyncio.run(main())
    assert caged.lines(folder, "began") == 2  # as many as may lapse, whatever its retries
    assert status.attempt == 0
    assert "The last time its process" in status.error.message


def test_a_death_costs_its_own_task_only(any_url, folder):
    events = Events()

    async def main():
        async with working(events) as stem:
            job = await caged.dies_once.enqueue("kill", folder)
            others = await stem.enqueue_many([caged.where.call() for _ in range(10)])
            return await job.result(), [await other.result() for other in others]

    begun, others = asyncio.run(main())
    assert begun == 2
    assert len(others) == 10
    assert events.count("lease-lost") == 1
    assert events.count("task-retried") == 0
    assert len([event for event in events.all if event.name == "task-started"]) == 12


def test_a_child_that_dies_between_two_tasks_costs_none(sqlite):
    events = Events()

    async def main():
        async with working(events):
            pids = []
            for _ in range(3):
                pid = (await (await caged.where.enqueue()).result())[0]
                pids.append(pid)
                os.kill(pid, signal.SIGKILL)
            return pids

    assert len(set(asyncio.run(main()))) == 3
    assert events.count("lease-lost") == 0


def test_what_a_dead_task_had_started_ends_with_it(sqlite, folder):
    async def main():
        async with working():
            await caged.has_children.enqueue(folder)
            await until(lambda: len(noted(folder)) == 2)
            os.kill(noted(folder)[0], signal.SIGKILL)
            assert await asyncio.to_thread(gone_after, noted(folder))

    asyncio.run(main())


# ── limits ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["cleans_up_at_its_soft_limit", "cleans_up_at_its_soft_limit_too"])
def test_a_soft_limit_reaches_a_task_where_it_waits(url, folder, name):
    async def main():
        async with working():
            job = await getattr(caged, name).using(soft_time_limit=0.3).enqueue(folder)
            return await job.result()

    assert asyncio.run(main()) == "cleaned up"


@pytest.mark.parametrize("name", ["sleeps", "spins", "holds_the_interpreter"])
def test_a_hard_limit_ends_whatever_the_task_does(url, folder, name):
    async def main():
        async with working() as stem:
            job = await getattr(caged, name).using(hard_time_limit=1).enqueue(folder)
            with pytest.raises(TaskFailed, match="timed-out"):
                await job.result()
            assert await asyncio.to_thread(gone_after, noted(folder))
            return await stem.status(job.id)

    status = asyncio.run(main())
    assert status.attempt == 1
    run_ms = (status.finished_at - status.started_at).total_seconds() * 1000
    assert 1000 <= run_ms < 60_000  # without a limit it would be ten minutes


# ── cancelling ───────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["until_cancelled", "sleeps_in_a_coroutine", "spins"])
def test_a_cancelled_task_ends_and_one_that_goes_on_is_killed(any_url, folder, name, monkeypatch):
    monkeypatch.setenv("STEM_WORKER_CANCEL_GRACE", "300ms" if name == "spins" else "30s")

    async def main():
        async with working() as stem:
            job = await getattr(caged, name).enqueue(folder)
            await until(lambda: bool(noted(folder)))
            await job.cancel("no longer wanted")
            with pytest.raises(TaskCancelled):
                await job.result()
            return await stem.status(job.id)

    status = asyncio.run(main())
    assert (status.state, status.reason) == (State.CANCELLED, "no longer wanted")
    assert ("cleaned up" in caged.notes(folder)) is (name == "sleeps_in_a_coroutine")
    if name == "spins":
        assert gone_after(noted(folder))


# ── the end of a worker ──────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["sleeps", "sleeps_in_a_coroutine", "holds_the_interpreter"])
def test_what_runs_when_the_grace_is_over_is_handed_back(url, folder, name):
    async def main():
        made = caged.make()
        async with asyncio.timeout(PATIENCE_S), made:
            worker = Worker(made, app=caged.make, grace=0.1)
            await worker.start()
            await getattr(caged, name).enqueue(folder)
            await until(lambda: bool(noted(folder)))
            worker.drain()
            code = await worker.ended()
            assert gone_after(noted(folder))
            lane = await made.lane()
            [delivery] = await lane.broker.fetch(["default"], limit=2, wait_ms=1000, worker="next")
            return code, delivery

    code, delivery = asyncio.run(main())
    assert code == HANDED_BACK
    assert (delivery.attempt, delivery.lapses, delivery.releases) == (1, 0, 1)


APP = """
import os
from integration import caged
app = caged.make()
"""


HOST = """
import asyncio
from integration import caged
from stem_core import Stem, TaskRegistry, Worker

registry = TaskRegistry()
for task in (caged.kills_its_worker, caged.innocent):
    registry.task(name=task.name, max_retries=0)(task.fn)

async def main():
    async with Stem(registry=registry) as stem:
        await Worker(stem, concurrency=30).run()

asyncio.run(main())
"""
OF_THE_PROGRAM = ["-m", "stem_core", "worker", "cages:app", "--concurrency", "30"]
OF_A_HOST = ["-c", HOST]


@contextmanager
def a_worker(folder: str, words: Sequence[str] = OF_THE_PROGRAM) -> Iterator[subprocess.Popen[str]]:
    """Run a worker of the application in a process of its own, by default `stem worker`."""
    Path(folder, "cages.py").write_text(APP)
    path = os.pathsep.join([*sys.path, folder])
    with subprocess.Popen(
        [sys.executable, *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def sent(*calls: Any) -> list[str]:
    """Enqueue *calls* from here; return their ids."""

    async def main():
        async with caged.make() as made:
            return [job.id for job in await made.enqueue_many(calls)]

    return asyncio.run(main())


def states_of(ids: list[str]) -> list[State | None]:
    async def main():
        async with caged.make() as made:
            found = [await made.status(id) for id in ids]
            return [status.state if status else None for status in found]

    return asyncio.run(main())


def wait_until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.01)


def processes_of(session_of: int) -> list[int]:
    """Return the children of a process, and theirs."""
    found = [int(line) for line in _children(session_of)]
    return found + [grandchild for child in found for grandchild in processes_of(child)]


def _children(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
@pytest.mark.parametrize("name", ["sleeps", "spins", "holds_the_interpreter", "has_children"])
def test_no_child_outlives_its_worker_whatever_it_does(sqlite, folder, name, method, monkeypatch):
    monkeypatch.setenv("STEM_WORKER_CHILD_START", method)
    with a_worker(folder) as worker:
        sent(getattr(caged, name).call(folder))
        wait_until(lambda: len(noted(folder)) == (2 if name == "has_children" else 1))
        pids = processes_of(worker.pid) + noted(folder)
        worker.kill()
        worker.wait()
        assert gone_after(pids), [pid for pid in pids if lives(pid)]


def test_a_signal_for_the_whole_service_does_not_end_what_runs(sqlite, folder):
    with a_worker(folder) as worker:
        sent(caged.naps.call(folder))
        wait_until(lambda: len(noted(folder)) == 1)
        for pid in [*processes_of(worker.pid), worker.pid]:
            os.kill(pid, signal.SIGTERM)
        assert worker.wait(PATIENCE_S) == 0
    assert caged.lines(folder, "woke up") == 1


# ── what ends workers runs apart ─────────────────────────────────────────────


def deaths_until_all_ended(ids: list[str], folder: str, words: Sequence[str]) -> int:
    """Start a worker whenever there is none; return how many have died when all has ended."""
    deadline = time.monotonic() + 180
    deaths = 0

    def is_over() -> bool:
        return all(state is not None and state.is_terminal for state in states_of(ids))

    while not is_over():
        with a_worker(folder, words) as worker:
            while worker.poll() is None and not is_over():
                assert time.monotonic() < deadline, states_of(ids)
                time.sleep(0.2)
            deaths += worker.poll() is not None
    return deaths


def one_killer_among_innocents(folder: str, lease_s: int) -> tuple[list[str], list[State]]:
    """Enqueue it, with ten on both sides; return the ids, and how all shall end."""
    innocent = caged.innocent.using(visibility_timeout=lease_s)
    calls: list[Any] = [innocent.call(number, folder) for number in range(20)]
    calls.insert(10, caged.kills_its_worker.using(visibility_timeout=lease_s).call(folder))
    states = [State.SUCCEEDED] * 21
    states[10] = State.DEAD
    return sent(*calls), states


@pytest.mark.parametrize("broker", ["sqlite", "redis", "postgres"])
def test_only_the_task_that_ends_its_worker_is_poison(
    broker, request, tmp_path, monkeypatch, folder
):
    request.param = broker
    _told(_url_of(request, tmp_path), monkeypatch, tmp_path)
    monkeypatch.setenv("STEM_MAX_LAPSES", "3")
    ids, ends = one_killer_among_innocents(folder, lease_s=5)
    # Once it has ended two workers, it ends only processes of its own.
    assert deaths_until_all_ended(ids, folder, OF_THE_PROGRAM) == 2
    assert states_of(ids) == ends
    assert caged.lines(folder, "killer") == 3


def test_nor_is_anybody_blamed_where_no_child_can_run_what_is_suspected(
    sqlite, folder, monkeypatch
):
    monkeypatch.setenv("STEM_MAX_LAPSES", "3")
    # Here no child is in the way, and many leases lapse one after the other.
    ids, ends = one_killer_among_innocents(folder, lease_s=2)
    assert deaths_until_all_ended(ids, folder, OF_A_HOST) >= 3
    assert states_of(ids) == ends


# ── replacing ────────────────────────────────────────────────────────────────


def test_a_child_is_replaced_after_so_many_tasks(sqlite, monkeypatch):
    monkeypatch.setenv("STEM_WORKER_CHILD_MAX_TASKS", "3")
    monkeypatch.setenv("STEM_WORKER_CHILDREN", "1")

    async def main():
        async with working():
            return [(await (await caged.where.enqueue()).result())[0] for _ in range(9)]

    pids = asyncio.run(main())
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [3, 3, 3]
    assert gone_after(pids)


def test_a_child_that_holds_too_much_memory_is_replaced(sqlite, monkeypatch):
    monkeypatch.setenv("STEM_WORKER_CHILD_MAX_RSS", "120M")
    monkeypatch.setenv("STEM_WORKER_CHILDREN", "1")

    async def main():
        async with working():
            return [await (await caged.holds.enqueue(mb)).result() for mb in (1, 1, 150, 1)]

    first, second, third, fourth = asyncio.run(main())
    assert first == second == third != fourth


# ── what cannot be ───────────────────────────────────────────────────────────

nowhere = TaskRegistry()


@nowhere.task(name="nowhere.to.be.found", isolation="process")
def never() -> None: ...


def test_a_worker_whose_application_cannot_be_imported_says_so_at_once():
    with pytest.raises(ConfigError, match=r"nowhere\.to\.be\.found.*no module holds the Stem"):
        Worker(Stem("memory://", registry=nowhere))


async def released_by(app: Callable[[], Stem]) -> tuple[Event, str]:
    """Run one task in a worker whose children are of *app*; return how it was let go, and why
    the worker says that it is not ready."""
    events, made = Events(), caged.make()
    worker = Worker(made, app=app, observers=[events])
    async with asyncio.timeout(PATIENCE_S), made, worker:
        assert unready(worker.vitals) == ""
        await caged.where.enqueue()
        await until(lambda: events.count("task-released") > 0)
        why = unready(worker.vitals)
    return next(event for event in events.all if event.name == "task-released"), why


def test_a_task_waits_elsewhere_while_no_child_comes_up(sqlite, caplog):
    released, why = asyncio.run(released_by(caged.breaks))
    assert why == "no child process comes up, the log says why"
    assert released.detail["why"] == "parked"
    assert "the application is broken" in released.detail["reason"]
    assert "a child process did not come up, 3 in a row" in caplog.text


def test_what_python_says_of_a_child_that_cannot_begin_is_seen_whole(sqlite, capfd):
    released, _ = asyncio.run(released_by(caged.Unknown()))
    assert released.detail["reason"] == "its process ended with exit code 1"
    assert "No module named 'a_module_that_only_the_worker_finds'" in capfd.readouterr().err

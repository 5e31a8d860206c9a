"""Each variable that Stem reads changes what Stem does; the last test counts them.

Rule of this file: a setting goes in as its variable, and what is looked at is a
broker, a worker, a record or the program, never the setting itself.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

import pytest
from integration import caged, shop
from unit.discovery.fakes import FakeBroker, Site
from unit.producer.stores import HmacSigner, fresh_name
from unit.worker.stores import FaultyBroker

from stem_core.contracts.clock import SYSTEM_CLOCK, Clock
from stem_core.contracts.hookspecs import BrokerSpec, PluginContext, SignerSpec, hookimpl
from stem_core.contracts.messages import Located, Message, Place, Published
from stem_core.embedded.memory.broker import InMemoryBroker
from stem_core.embedded.memory.store import MemoryStore
from stem_core.model.errors import (
    ConfigError,
    NoResultBackend,
    PayloadTooLarge,
    PluginConflict,
    PluginDisabled,
    PluginError,
    SignatureMissing,
    StoreUnavailable,
    UnknownScheme,
)
from stem_core.model.options import TaskOptions
from stem_core.model.outcome import State
from stem_core.model.settings import SigningConfig, StemConfig, TlsConfig
from stem_core.model.settings.environment import settings_of
from stem_core.model.urls import StemURL
from stem_core.producer.client import Stem
from stem_core.testing.clock import FakeClock, LoadedDice
from stem_core.worker.burst import burst
from stem_core.worker.exits import CUT_OFF, DRAINED, HANDED_BACK, STUCK
from stem_core.worker.worker import Worker

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., None])

SHOWN: set[str] = set()


def shows(*variables: str) -> Callable[[F], F]:
    """Note that a test shows what *variables* do."""
    SHOWN.update(variables)
    return lambda test: test


class Deployment:
    """One store in memory, and Stems that know it by their variables only."""

    def __init__(self) -> None:
        self.name = fresh_name()
        self.results = f"{self.name}-results"

    def stem(self, clock: Clock = SYSTEM_CLOCK, /, **variables: str) -> Stem:
        """Return a Stem with the tasks of the shop and these variables."""
        env = {"STEM_BROKER_URL": f"memory://{self.name}"} | variables
        stem = Stem(config=StemConfig.from_environment(env), clock=clock, dice=LoadedDice((0.3,)))
        stem.include(shop.stem.registry)
        return stem

    def forget(self) -> None:
        for name in (self.name, self.results):
            for namespace in ("stem", "other"):
                MemoryStore.forget(name, namespace)


@pytest.fixture
def deployed() -> Iterator[Deployment]:
    deployment = Deployment()
    yield deployment
    deployment.forget()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A directory where plugins are installed."""
    monkeypatch.syspath_prepend(str(tmp_path))
    made = Site(tmp_path)
    yield made
    made.forget()


def run(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    async def in_time() -> T:
        async with asyncio.timeout(30):
            return await main()

    return asyncio.run(in_time())


async def until(is_so: Callable[[], bool]) -> None:
    while not is_so():
        await asyncio.sleep(0.001)


async def located(stem: Stem, id: str) -> Located | None:
    return (await (await stem.lane()).broker.lookup([id]))[0]


async def place_of(stem: Stem, id: str) -> Place | None:
    where = await located(stem, id)
    return None if where is None else where.place


async def state_of(stem: Stem, id: str) -> State | None:
    status = await stem.status(id)
    return None if status is None else status.state


async def lease_one(stem: Stem) -> int:
    """Take a message as a worker that dies would; return how many there were to take."""
    lane = await stem.lane()
    return len(await lane.broker.fetch(["default"], limit=1, wait_ms=0, worker="dies"))


# ── where things are ─────────────────────────────────────────────────────────


@shows("STEM_BROKER_URL")
def test_the_broker_is_the_one_that_the_variable_names(deployed: Deployment) -> None:
    async def main() -> list[Place | None]:
        id = await deployed.stem().enqueue("hello.print", {"name": "x"})
        others = [Stem(f"memory://{name}") for name in (deployed.name, deployed.results)]
        return [await place_of(other, id) for other in others]

    assert run(main) == [Place.READY, None]


@shows("STEM_RESULT_BACKEND_URL")
def test_results_go_to_the_backend_that_the_variable_names(deployed: Deployment) -> None:
    url = f"memory://{deployed.results}"

    async def main() -> tuple[State | None, Any]:
        stem = deployed.stem(STEM_RESULT_BACKEND_URL=url)
        id = await stem.enqueue("hello.print", {"name": "x"})
        await burst(stem)
        reader = Stem(f"memory://{deployed.results}", backend=url)
        return await state_of(deployed.stem(), id), await reader.result(id, timeout=10)

    assert run(main) == (None, "Hello, x!")


@shows("STEM_RESULT_BACKEND_URL")
def test_none_as_backend_remembers_nothing(deployed: Deployment) -> None:
    async def main() -> None:
        stem = deployed.stem(STEM_RESULT_BACKEND_URL="none://")
        with pytest.raises(NoResultBackend):
            await stem.result(await stem.enqueue("hello.print", {"name": "x"}))

    run(main)


@shows("STEM_NAMESPACE")
def test_two_namespaces_of_one_store_do_not_meet(deployed: Deployment) -> None:
    async def main() -> list[Place | None]:
        id = await deployed.stem(STEM_NAMESPACE="other").enqueue("hello.print", {"name": "x"})
        spaces = ("stem", "other")
        return [await place_of(deployed.stem(STEM_NAMESPACE=each), id) for each in spaces]

    assert run(main) == [None, Place.READY]


@shows("STEM_DEFAULT_QUEUE", "STEM_ROUTES")
@pytest.mark.parametrize(
    ("variable", "text", "queue"),
    [("STEM_DEFAULT_QUEUE", "low", "low"), ("STEM_ROUTES", "hello.*=greetings", "greetings")],
)
def test_a_task_goes_to_its_queue_and_a_worker_serves_that_queue(
    deployed: Deployment, variable: str, text: str, queue: str
) -> None:
    async def main() -> tuple[str, Any]:
        stem = deployed.stem(**{variable: text})
        id = await stem.enqueue("hello.print", {"name": "x"})
        where = await located(stem, id)
        assert where is not None
        async with Worker(stem):
            return where.message.queue, await stem.result(id, timeout=10)

    assert run(main) == (queue, "Hello, x!")


# ── limits ───────────────────────────────────────────────────────────────────


@shows("STEM_DEFAULT_MAX_RETRIES")
@pytest.mark.parametrize(
    ("retries", "runs", "state"),
    [("0", 1, State.DEAD), ("1", 2, State.DEAD), ("2", 3, State.SUCCEEDED)],
)
def test_a_task_is_retried_as_often_as_the_variable_says(
    deployed: Deployment, retries: str, runs: int, state: State
) -> None:
    async def main() -> State | None:
        stem = deployed.stem(STEM_DEFAULT_MAX_RETRIES=retries)
        id = await stem.enqueue("integration.shop.fails_twice", {"key": "k"})
        await burst(stem)
        return await state_of(stem, id)

    assert run(main) is state
    assert shop.runs["k"] == runs


@shows("STEM_DEFAULT_VISIBILITY_TIMEOUT")
def test_a_lease_lasts_as_long_as_the_variable_says(deployed: Deployment) -> None:
    async def main() -> list[int]:
        stem = deployed.stem(clock := FakeClock(), STEM_DEFAULT_VISIBILITY_TIMEOUT="1m")
        await stem.enqueue("hello.print", {"name": "x"})
        taken = [await lease_one(stem)]
        for pause in ("59s", "2s"):
            clock.advance(pause)
            taken.append(await lease_one(stem))
        return taken

    assert run(main) == [1, 0, 1]


@shows("STEM_MAX_LAPSES")
def test_a_message_is_poison_after_as_many_lapses_as_the_variable_says(
    deployed: Deployment,
) -> None:
    async def main() -> str | None:
        stem = deployed.stem(clock := FakeClock(), STEM_MAX_LAPSES="1")
        id = await stem.enqueue("hello.print", {"name": "x"})
        await lease_one(stem)
        clock.advance("31s")
        await burst(stem)
        status = await stem.status(id)
        return None if status is None else status.reason

    assert run(main) == "poison"
    assert shop.runs["x"] == 0


@shows("STEM_MAX_PAYLOAD")
def test_a_call_that_is_larger_than_the_variable_says_is_refused(deployed: Deployment) -> None:
    async def main() -> None:
        args = {"name": "x" * 2_000}
        await deployed.stem().enqueue("hello.print", args)
        with pytest.raises(PayloadTooLarge, match="1024"):
            await deployed.stem(STEM_MAX_PAYLOAD="1024").enqueue("hello.print", args)

    run(main)


@shows("STEM_MAX_PAYLOAD")
@pytest.mark.parametrize(
    ("limit", "state"), [("1048576", State.DEAD), ("4194304", State.SUCCEEDED)]
)
def test_a_result_is_held_to_the_same_limit(deployed: Deployment, limit: str, state: State) -> None:
    async def main() -> State | None:
        stem = deployed.stem(STEM_MAX_PAYLOAD=limit)
        id = await stem.enqueue("integration.shop.returns", {"kind": "huge"})
        await burst(stem)
        return await state_of(stem, id)

    assert run(main) is state


class Away(InMemoryBroker):
    """A broker that never answers."""

    async def publish(self, messages: Sequence[Message]) -> Sequence[Published]:
        raise StoreUnavailable("cut")


@shows("STEM_PUBLISH_DEADLINE")
def test_an_enqueue_gives_up_when_the_variable_says(deployed: Deployment) -> None:
    async def main() -> None:
        config = StemConfig.from_environment({"STEM_PUBLISH_DEADLINE": "5ms"}, require_broker=False)
        with pytest.raises(StoreUnavailable, match="did not answer within 5ms: cut"):
            await Stem(Away(deployed.name), config=config).enqueue("hello.print", {"name": "x"})

    run(main)


# ── how long things are kept ─────────────────────────────────────────────────


async def cancel(stem: Stem, id: str) -> None:
    await stem.cancel(id)


@shows("STEM_RESULT_TTL", "STEM_FAILURE_TTL")
@pytest.mark.parametrize(
    ("variable", "what", "end", "state"),
    [
        ("STEM_RESULT_TTL", "anything", burst, State.SUCCEEDED),
        ("STEM_FAILURE_TTL", "discard", burst, State.DISCARDED),
        ("STEM_FAILURE_TTL", "anything", cancel, State.CANCELLED),
        ("STEM_FAILURE_TTL", "reject", burst, State.DEAD),
    ],
)
def test_a_record_is_kept_for_as_long_as_the_variable_says(
    deployed: Deployment,
    variable: str,
    what: str,
    end: Callable[..., Awaitable[object]],
    state: State,
) -> None:
    async def main() -> list[State | None]:
        stem = deployed.stem(clock := FakeClock(), **{variable: "3h"})
        id = await stem.enqueue("integration.shop.says", {"what": what})
        await end(stem, *([id] if end is cancel else []))
        states = []
        for pause in ("179m", "2m"):
            clock.advance(pause)
            backend = (await stem.lane()).backend
            assert backend is not None
            [record] = await backend.load([id])
            states.append(None if record is None else record.state)
        return states

    assert run(main) == [state, None]


@shows("STEM_DEAD_LETTER_TTL")
def test_a_dead_letter_is_kept_for_as_long_as_the_variable_says(deployed: Deployment) -> None:
    async def main() -> list[Place | None]:
        # Its record goes first, and takes nothing with it.
        variables = {"STEM_DEAD_LETTER_TTL": "3h", "STEM_FAILURE_TTL": "1h"}
        stem = deployed.stem(clock := FakeClock(), **variables)
        id = await stem.enqueue("integration.shop.says", {"what": "reject"})
        await burst(stem)
        places = []
        for pause in ("179m", "2m"):
            clock.advance(pause)
            places.append(await place_of(stem, id))
        return places

    assert run(main) == [Place.DEAD, None]


@shows("STEM_PARK_LIMIT")
@pytest.mark.parametrize(("limit", "place"), [("0s", Place.DEAD), ("10m", Place.PARKED)])
def test_an_unknown_task_waits_for_as_long_as_the_variable_says(
    deployed: Deployment, limit: str, place: Place
) -> None:
    async def main() -> Place | None:
        stem = deployed.stem(STEM_PARK_LIMIT=limit)
        id = await stem.enqueue("nobody.knows")
        await burst(stem)
        return await place_of(stem, id)

    assert run(main) is place


# ── the worker ───────────────────────────────────────────────────────────────


@shows("STEM_WORKER_QUEUES")
@pytest.mark.parametrize(
    ("queues", "order"),
    [("default,pay", ["default", "pay"]), ("default,pay:8", ["pay", "default"])],
)
def test_a_worker_serves_the_queues_of_the_variable_and_heavy_ones_first(
    deployed: Deployment, queues: str, order: list[str]
) -> None:
    async def main() -> Place | None:
        stem = deployed.stem(STEM_WORKER_QUEUES=queues, STEM_WORKER_CONCURRENCY="1")
        ids = [
            await stem.enqueue(
                "integration.shop.note", {"what": queue}, options=TaskOptions(queue=queue)
            )
            for queue in ("elsewhere", "default", "pay")
        ]
        async with Worker(stem):
            await until(lambda: len(shop.seen) >= 2)
        return await place_of(stem, ids[0])

    assert run(main) is Place.READY
    assert shop.seen == order


@shows("STEM_WORKER_CONCURRENCY", "STEM_PREFETCH_MULTIPLIER")
@pytest.mark.parametrize(("multiplier", "held"), [("1", 2), ("2", 4)])
def test_a_worker_runs_and_holds_as_many_as_the_variables_say(
    deployed: Deployment, multiplier: str, held: int
) -> None:
    async def main() -> tuple[int, int]:
        stem = deployed.stem(STEM_WORKER_CONCURRENCY="2", STEM_PREFETCH_MULTIPLIER=multiplier)
        for _ in range(6):
            await stem.enqueue("integration.shop.waits", {"key": "k"})
        async with Worker(stem) as worker:
            await until(lambda: shop.runs["k"] >= 2)
            seen = shop.runs["k"], worker.running
            shop.gate.open.set()
        return seen

    assert run(main) == (2, held)


@shows("STEM_WORKER_THREADS")
def test_a_worker_has_as_many_threads_as_the_variable_says(deployed: Deployment) -> None:
    async def main() -> int:
        stem = deployed.stem(STEM_WORKER_THREADS="1")
        ids = [
            await stem.enqueue("integration.shop.waits_in_thread", {"key": "k"}) for _ in range(2)
        ]
        worker = Worker(stem)
        running = asyncio.create_task(worker.run())
        await until(lambda: shop.runs["k"] > 0 and worker.running == 2)
        worker.drain()  # what waits for a thread is handed back, what has one goes on
        while Place.READY not in [await place_of(stem, id) for id in ids]:
            await asyncio.sleep(0.001)
        shop.gate.open.set()
        return await running

    assert run(main) == DRAINED
    assert shop.runs["k"] == 1


def ran_apart(deployed: Deployment, *calls: Any, **variables: str) -> list[Any]:
    """Return what tasks with processes of their own return, all of them sent at once."""

    async def main() -> list[Any]:
        stem = deployed.stem(**variables)
        stem.include(caged.registry)
        async with Worker(stem, app=caged.elsewhere):
            jobs = await stem.enqueue_many(calls)
            return [await job.result() for job in jobs]

    return run(main)


@shows("STEM_WORKER_CHILDREN")
def test_a_worker_has_as_many_child_processes_as_the_variable_says(
    deployed: Deployment, tmp_path: Path
) -> None:
    call = caged.dozes.call(str(tmp_path), 3)
    pids = ran_apart(deployed, *[call] * 6, STEM_WORKER_CHILDREN="3")
    assert len(set(pids)) == 3


@shows("STEM_WORKER_CHILD_START")
def test_a_child_process_starts_as_the_variable_says(deployed: Deployment) -> None:
    [[_, parent, *_]] = ran_apart(deployed, caged.where.call())
    assert parent == os.getpid()
    [[_, parent, *_]] = ran_apart(
        deployed, caged.where.call(), STEM_WORKER_CHILD_START="forkserver"
    )
    assert parent != os.getpid()


@shows("STEM_WORKER_CHILD_MAX_TASKS")
def test_a_child_process_is_replaced_after_as_many_tasks_as_the_variable_says(
    deployed: Deployment,
) -> None:
    one = {"STEM_WORKER_CHILDREN": "1"}
    calls = [caged.where.call()] * 4
    pids = [pid for pid, *_ in ran_apart(deployed, *calls, STEM_WORKER_CHILD_MAX_TASKS="2", **one)]
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [2, 2]


@shows("STEM_WORKER_CHILD_MAX_RSS")
def test_a_child_process_is_replaced_when_it_holds_as_much_as_the_variable_says(
    deployed: Deployment,
) -> None:
    one = {"STEM_WORKER_CHILDREN": "1"}
    calls = [caged.where.call()] * 2
    first, second = ran_apart(deployed, *calls, STEM_WORKER_CHILD_MAX_RSS="1M", **one)
    assert first[0] != second[0]


@shows("STEM_WORKER_CANCEL_GRACE")
def test_a_cancelled_task_may_go_on_as_long_as_the_variable_says(
    deployed: Deployment, tmp_path: Path
) -> None:
    async def main() -> None:
        stem = deployed.stem(STEM_WORKER_CANCEL_GRACE="0s")
        stem.include(caged.registry)
        async with Worker(stem, app=caged.elsewhere, grace=0):
            id = await stem.enqueue("integration.caged.spins", {"folder": str(tmp_path)})
            await until(lambda: bool(caged.notes(str(tmp_path))))
            # Of itself it would spin for ever, and with the usual grace for ten seconds.
            async with asyncio.timeout(9):
                await stem.cancel(id)
                while await state_of(stem, id) is not State.CANCELLED:
                    await asyncio.sleep(0.01)

    run(main)


@shows("STEM_WORKER_GRACE")
def test_a_worker_waits_for_its_tasks_as_long_as_the_variable_says(deployed: Deployment) -> None:
    async def main() -> int:
        # A clock that stands still: with any other grace it would wait for ever.
        stem = deployed.stem(FakeClock(), STEM_WORKER_GRACE="0s")
        await stem.enqueue("integration.shop.waits")
        worker = Worker(stem)
        running = asyncio.create_task(worker.run())
        await until(shop.gate.begun.is_set)
        worker.drain()
        return await running

    assert run(main) == HANDED_BACK


@shows("STEM_WORKER_MAX_RUN")
def test_the_lease_of_a_task_is_renewed_as_long_as_the_variable_says(
    deployed: Deployment, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        clock = FakeClock()
        # With an hour it would wait for a clock that goes on for half of that.
        stem = deployed.stem(clock, STEM_WORKER_MAX_RUN="1m", STEM_WORKER_GRACE="0s")
        await stem.enqueue("integration.shop.waits")
        async with Worker(stem) as worker:
            await until(shop.gate.begun.is_set)
            for _ in range(1_800):
                clock.advance("1s")
                await asyncio.sleep(0.001)
                if not worker.running:
                    return
            raise AssertionError("it runs on")

    run(main)
    assert "still runs after its longest time" in caplog.text


@shows("STEM_WORKER_STALL_LIMIT")
def test_a_task_may_block_the_loop_as_long_as_the_variable_says(deployed: Deployment) -> None:
    left: list[int] = []

    def leave(code: int) -> None:
        left.append(code)
        shop.gate.open.set()

    async def main() -> int:
        stem = deployed.stem(STEM_WORKER_STALL_LIMIT="1s")
        await stem.enqueue("integration.shop.holds_up_the_loop")
        return await Worker(stem, leave=leave).run()

    assert run(main) == STUCK
    assert left == [STUCK]


@shows("STEM_WORKER_POLL_LIMIT")
def test_a_worker_tries_to_poll_as_long_as_the_variable_says() -> None:
    async def main() -> int:
        variables = {"STEM_BROKER_URL": "memory://", "STEM_WORKER_POLL_LIMIT": "100ms"}
        broker = FaultyBroker(fresh_name())
        broker.before["fetch"] = 1_000_000
        stem = Stem(broker, backend=None, config=StemConfig.from_environment(variables))
        return await Worker(stem, queues="default").run()

    assert run(main) == CUT_OFF


# ── the program ──────────────────────────────────────────────────────────────

APP = """
import os, signal
from stem_core.producer.client import Stem

stem = Stem()

@stem.task
async def stop_here() -> None:
    os.kill(os.getpid(), signal.SIGTERM)

stem.blocking.enqueue("app.stop_here")
"""


@pytest.fixture
def lines_of_a_worker(tmp_path: Path) -> Callable[..., list[str]]:
    """Run `stem worker` until its only task stops it; return what it logged."""
    (tmp_path / "app.py").write_text(APP)

    def log(**variables: str) -> list[str]:
        kept = {name: text for name, text in os.environ.items() if not name.startswith("STEM_")}
        given = {"STEM_BROKER_URL": "memory://", "STEM_APP": "app:stem", **variables}
        ended = subprocess.run(
            [sys.executable, "-m", "stem_core", "worker"],
            cwd=tmp_path,
            env=kept | given,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stderr.splitlines()

    return log


@shows("STEM_LOG_LEVEL", "STEM_APP")
def test_the_program_logs_from_the_level_of_the_variable_up(
    lines_of_a_worker: Callable[..., list[str]],
) -> None:
    for level, is_started, is_ended in (
        ("debug", True, True),
        ("info", False, True),
        ("error", False, False),
    ):
        lines = map(json.loads, lines_of_a_worker(STEM_LOG_LEVEL=level))
        events = {line.get("event") for line in lines}
        assert ("task-started" in events, "task-succeeded" in events) == (is_started, is_ended)


@shows("STEM_LOG_FORMAT", "STEM_APP")
def test_the_program_logs_in_the_format_of_the_variable(
    lines_of_a_worker: Callable[..., list[str]],
) -> None:
    assert all(line.startswith("{") for line in lines_of_a_worker(STEM_LOG_FORMAT="json"))
    assert not any(line.startswith("{") for line in lines_of_a_worker(STEM_LOG_FORMAT="text"))


@shows("STEM_WORKER_QUEUES")
def test_the_program_takes_weights_and_variables_of_its_own_even_when_strict(
    lines_of_a_worker: Callable[..., list[str]],
) -> None:
    lines = lines_of_a_worker(
        STEM_WORKER_QUEUES="pay:8,default", STEM_WORKER_NAME="alice", STEM_STRICT="1"
    )
    (started,) = [each for each in map(json.loads, lines) if each.get("event") == "worker-started"]
    assert "alice" in started["message"]
    assert started["queues"] == ["pay", "default"]


@shows("STEM_WORKER_PROCESSES")
def test_the_program_starts_as_many_processes_as_the_variable_says(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(
        "from stem_core.producer.client import Stem\nstem = Stem()\n"
        "@stem.task\ndef work() -> None: ...\n"
    )
    kept = {name: text for name, text in os.environ.items() if not name.startswith("STEM_")}
    ended = subprocess.run(
        [sys.executable, "-m", "stem_core", "worker", "app"],
        cwd=tmp_path,
        env=kept | {"STEM_BROKER_URL": "memory://", "STEM_WORKER_PROCESSES": "2"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 4
    assert "several processes cannot share the broker memory://" in ended.stderr


@shows("STEM_WORKER_MAX_TASKS", "STEM_WORKER_MAX_RSS")
@pytest.mark.parametrize(
    "limit", [{"STEM_WORKER_MAX_TASKS": "1000"}, {"STEM_WORKER_MAX_RSS": "8G"}]
)
def test_the_program_replaces_its_process_where_a_variable_limits_it(
    tmp_path: Path, limit: dict[str, str]
) -> None:
    (tmp_path / "app.py").write_text(
        "from stem_core.producer.client import Stem\nstem = Stem()\n"
        "@stem.task\ndef work() -> None: ...\n"
    )
    kept = {name: text for name, text in os.environ.items() if not name.startswith("STEM_")}
    ended = subprocess.run(
        [sys.executable, "-m", "stem_core", "worker", "app"],
        cwd=tmp_path,
        env=kept | {"STEM_BROKER_URL": "memory://"} | limit,
        capture_output=True,
        text=True,
        timeout=60,
    )
    # Its successor would not find what this one holds.
    assert ended.returncode == 4
    assert "several processes cannot share the broker memory://" in ended.stderr


@shows("STEM_WORKER_HTTP")
def test_the_program_answers_where_the_variable_says(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(
        "from stem_core.producer.client import Stem\nstem = Stem()\n"
        "@stem.task\ndef work() -> None: ...\n"
    )
    kept = {name: text for name, text in os.environ.items() if not name.startswith("STEM_")}
    with socket.create_server(("127.0.0.1", 0)) as taken:
        at = f"127.0.0.1:{taken.getsockname()[1]}"
        ended = subprocess.run(
            [sys.executable, "-m", "stem_core", "worker", "app"],
            cwd=tmp_path,
            env=kept | {"STEM_BROKER_URL": "memory://", "STEM_WORKER_HTTP": at},
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert ended.returncode == 4
    assert f"the worker cannot answer at {at}" in ended.stderr


@shows("STEM_STRICT")
def test_strict_refuses_what_is_otherwise_a_warning(
    deployed: Deployment, caplog: pytest.LogCaptureFixture
) -> None:
    deployed.stem(STEM_NAMSPACE="x")
    assert "STEM_NAMSPACE is not a variable of Stem" in caplog.text
    with pytest.raises(ConfigError, match="STEM_NAMSPACE is not a variable of Stem"):
        deployed.stem(STEM_NAMSPACE="x", STEM_STRICT="1")


# ── plugins ──────────────────────────────────────────────────────────────────


async def opened(**variables: str) -> Any:
    """Return the broker that these variables open."""
    config = StemConfig.from_environment({"STEM_BROKER_URL": "fake://h"} | variables)
    return (await Stem(config=config).lane()).broker


@shows("STEM_PLUGINS")
def test_a_module_that_is_named_is_a_plugin(site: Site) -> None:
    site.broker("fake", module="named_plugin")
    (folder,) = site.path.glob("*.dist-info")
    (folder / "entry_points.txt").write_text("")  # nothing announces it
    with pytest.raises(UnknownScheme):
        run(opened)
    assert isinstance(run(lambda: opened(STEM_PLUGINS="named_plugin")), FakeBroker)


@shows("STEM_PLUGINS_AUTOLOAD", "STEM_PLUGINS_DISABLE")
@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("STEM_PLUGINS_AUTOLOAD", "0"),
        ("STEM_PLUGINS_DISABLE", "stem-fake"),
        ("STEM_PLUGINS_DISABLE", "*"),
    ],
)
def test_a_plugin_that_is_switched_off_opens_nothing(site: Site, variable: str, text: str) -> None:
    site.broker("fake")
    assert isinstance(run(opened), FakeBroker)
    with pytest.raises(PluginDisabled, match=variable):
        run(lambda: opened(**{variable: text}))


@shows("STEM_PLUGINS_PREFER")
def test_a_preference_decides_between_two_plugins(site: Site) -> None:
    site.broker("fake", module="slow_plugin", distribution="stem-slow")
    site.broker("fake", module="fast_plugin", distribution="stem-fast")
    with pytest.raises(PluginConflict):
        run(opened)
    run(lambda: opened(STEM_PLUGINS_PREFER="fake=stem-fast"))
    assert "fast_plugin" in sys.modules
    assert "slow_plugin" not in sys.modules


@shows("STEM_PLUGINS_STRICT")
def test_strict_plugins_refuse_what_is_otherwise_a_warning(site: Site) -> None:
    site.broker("fake")
    assert isinstance(run(lambda: opened(STEM_PLUGINS_DISABLE="stem-fke")), FakeBroker)
    with pytest.raises(PluginError, match="stem-fke"):
        run(lambda: opened(STEM_PLUGINS_DISABLE="stem-fke", STEM_PLUGINS_STRICT="1"))


# ── what protects ────────────────────────────────────────────────────────────


class FarBroker(FakeBroker):
    """A broker that is reached over a network; `context` is what it was opened with."""


class KeySigner(HmacSigner):
    """Signs with the active key of its variables, whatever their algorithm."""

    def __init__(self, key: bytes, key_id: str, url: StemURL, context: PluginContext) -> None:
        super().__init__(key, key_id)
        self.scheme, self.variables = url.scheme, dict(context.environment)

    @classmethod
    def open(cls, url: StemURL, options: Any, context: PluginContext) -> Self:
        named = context.environment
        active = named.get("STEM_SIGNING_ACTIVE_KEY", "")
        listed = (named.get(f"STEM_SIGNING_{kind}", "") for kind in ("KEYS", "PRIVATE_KEYS"))
        keys = dict(each.split(":") for text in listed if text for each in text.split(","))
        return cls(base64.b64decode(keys.get(active, "")), active, url, context)


class Protection:
    """A plugin with a signer for every algorithm, and a broker that can do TLS."""

    STEM_PLUGIN_API = (1, 0)

    @hookimpl
    def stem_register_signers(self) -> list[SignerSpec]:
        schemes = ("hmac-sha256", "ed25519", "vault")
        return [SignerSpec(schemes=schemes, factory=f"{__name__}:KeySigner")]

    @hookimpl
    def stem_register_brokers(self) -> list[BrokerSpec]:
        return [BrokerSpec(schemes=("far",), factory=f"{__name__}:FarBroker")]


def protected(stem: Stem) -> Stem:
    stem.plugins.register(Protection())
    return stem


@shows(
    "STEM_TLS_CA_CERT",
    "STEM_TLS_CLIENT_CERT",
    "STEM_TLS_CLIENT_KEY",
    "STEM_TLS_ALLOW_INSECURE",
)
@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"STEM_TLS_CA_CERT": "/ca"}, TlsConfig(ca_certificate_file="/ca")),
        (
            {"STEM_TLS_CLIENT_CERT": "/c", "STEM_TLS_CLIENT_KEY": "/k"},
            TlsConfig(client_certificate_file="/c", client_key_file="/k"),
        ),
        ({"STEM_TLS_ALLOW_INSECURE": "1"}, TlsConfig(allow_insecure=True)),
    ],
)
def test_tls_reaches_a_store_that_can_do_it_and_is_refused_by_one_that_cannot(
    deployed: Deployment, variables: dict[str, str], expected: TlsConfig
) -> None:
    async def main() -> Any:
        with pytest.raises(ConfigError, match="no connection to encrypt"):
            await deployed.stem(**variables).lane()
        far = protected(deployed.stem(STEM_BROKER_URL="far://h", **variables))
        return (await far.lane()).broker

    assert run(main).context.tls == expected


OLD, NEW = (f"{name}:{base64.b64encode(name.encode() * 16).decode()}" for name in ("k1", "k2"))


@shows("STEM_SIGNING_KEYS", "STEM_SIGNING_ACTIVE_KEY")
@pytest.mark.parametrize(("keys", "place"), [(NEW, None), (OLD, Place.DEAD)])
def test_the_active_key_signs_and_a_worker_without_it_refuses(
    deployed: Deployment, keys: str, place: Place | None
) -> None:
    async def main() -> tuple[str, Place | None]:
        producer = protected(
            deployed.stem(STEM_SIGNING_KEYS=f"{OLD},{NEW}", STEM_SIGNING_ACTIVE_KEY="k2")
        )
        id = await producer.enqueue("hello.print", {"name": "x"})
        where = await located(producer, id)
        assert where is not None
        worker = protected(deployed.stem(STEM_SIGNING_KEYS=keys))
        await burst(worker)
        return where.message.key_id, await place_of(worker, id)

    assert run(main) == ("k2", place)
    assert shop.runs["x"] == (1 if place is None else 0)


@shows("STEM_SIGNING_POLICY")
@pytest.mark.parametrize(("policy", "place"), [("accept", None), ("require", Place.DEAD)])
def test_the_policy_says_whether_what_nobody_signed_runs(
    deployed: Deployment, policy: str, place: Place | None
) -> None:
    async def main() -> Place | None:
        id = await deployed.stem().enqueue("hello.print", {"name": "x"})
        worker = protected(deployed.stem(STEM_SIGNING_KEYS=NEW, STEM_SIGNING_POLICY=policy))
        await burst(worker)
        return await place_of(worker, id)

    assert run(main) == place
    assert shop.runs["x"] == (1 if place is None else 0)


@shows("STEM_SIGNING_RESULTS")
def test_a_reader_that_requires_signed_results_refuses_one_that_nobody_signed(
    deployed: Deployment,
) -> None:
    async def main() -> None:
        stem = deployed.stem()
        id = await stem.enqueue("hello.print", {"name": "x"})
        await burst(stem)
        reader = protected(deployed.stem(STEM_SIGNING_KEYS=NEW, STEM_SIGNING_RESULTS="require"))
        with pytest.raises(SignatureMissing):
            await reader.result(id, timeout=5)

    run(main)


@shows("STEM_SIGNING_ALGORITHM", "STEM_SIGNING_PUBLIC_KEYS", "STEM_SIGNING_PRIVATE_KEYS")
def test_the_algorithm_chooses_the_signer_and_hands_it_its_keys(deployed: Deployment) -> None:
    variables = {
        "STEM_SIGNING_ALGORITHM": "ed25519",
        "STEM_SIGNING_PUBLIC_KEYS": f"{OLD},{NEW}",
        "STEM_SIGNING_PRIVATE_KEYS": NEW,
    }
    signer = protected(deployed.stem(**variables)).pipeline.signer
    assert isinstance(signer, KeySigner)
    assert signer.scheme == "ed25519"
    assert signer.variables == {**variables, "STEM_SIGNING_ACTIVE_KEY": "k2"}


@shows("STEM_SIGNER_URL")
def test_the_signer_is_the_one_that_the_variable_names(deployed: Deployment) -> None:
    signer = protected(deployed.stem(STEM_SIGNER_URL="vault://h")).pipeline.signer
    assert isinstance(signer, KeySigner)
    assert signer.scheme == "vault"
    assert protected(deployed.stem(STEM_SIGNER_URL="none://")).pipeline.signer is None


# ── all of them ──────────────────────────────────────────────────────────────


def test_no_variable_is_without_a_test_of_what_it_does() -> None:
    classes = (StemConfig, TlsConfig, SigningConfig)
    assert {field.metadata["env"] for cls in classes for field in settings_of(cls)} == SHOWN

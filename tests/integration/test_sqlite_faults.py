"""What can happen to a file: locked, read-only, full, replaced, damaged, newer, shared by fork."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from stem_core.contracts.messages import (
    Message,
    PublishStatus,
    Settlement,
    SettleStatus,
)
from stem_core.embedded.sqlite.backend import SqliteResultBackend
from stem_core.embedded.sqlite.broker import SqliteBroker
from stem_core.embedded.sqlite.session import LOOK_AGAIN_S
from stem_core.model.errors import (
    ConfigError,
    Fault,
    StoreError,
    StoreFull,
    StoreMisconfigured,
    StoreUnavailable,
    WrongLoop,
)
from stem_core.model.outcome import Record, State
from stem_core.producer.client import Stem
from stem_core.producer.registry import TaskRegistry
from stem_core.worker.worker import Worker

NOBODY = 65534

tasks = TaskRegistry()


@tasks.task(name="double")
async def double(number: int) -> int:
    return 2 * number


def message(id: str, **fields: Any) -> Message:
    return Message(**{"id": id, "queue": "q", "task": "t", "body": b"{}", **fields})


def url(path: Path) -> str:
    return f"sqlite:///{path}"


def with_broker(path: Path, body: Callable[[SqliteBroker], Any]) -> Any:
    """Run *body* with a broker of the file, which is closed at the end."""

    async def main() -> Any:
        broker = await SqliteBroker.connect(url(path))
        try:
            return await body(broker)
        finally:
            await broker.aclose()

    return asyncio.run(asyncio.wait_for(main(), 60))


async def published(broker: SqliteBroker, *ids: str) -> list[PublishStatus]:
    return [reply.status for reply in await broker.publish([message(id) for id in ids])]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A store that holds one message, ``old``."""
    path = tmp_path / "tasks.db"
    with_broker(path, lambda broker: published(broker, "old"))
    return path


# ── other programs ───────────────────────────────────────────────────────────


@contextmanager
def locked(path: Path) -> Iterator[sqlite3.Connection]:
    """Hold the file as another program may."""
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield other
        if other.in_transaction:
            other.execute("COMMIT")


def test_a_file_that_is_locked_for_long_is_said_to_be_and_nothing_is_half_done(file: Path):
    async def body(broker: SqliteBroker) -> None:
        with locked(file), pytest.raises(StoreError, match="locked by another program") as told:
            await broker.publish([message("new")])
        assert told.value.fault is Fault.BACKOFF
        assert await broker.lookup(["new"]) == [None]
        assert await published(broker, "new") == [PublishStatus.CREATED]

    with_broker(file, body)


def test_a_producer_does_not_notice_a_lock_of_seconds(file: Path):
    async def main() -> str:
        async with Stem(broker=url(file)) as stem:
            await stem.enqueue("warm.up")
            with locked(file) as other:
                asking = asyncio.ensure_future(stem.enqueue("t", options=None))
                done, _ = await asyncio.wait([asking], timeout=2.5)
                assert not done
                other.execute("COMMIT")
            return await asking

    assert asyncio.run(main())


def test_the_loop_goes_on_while_somebody_waits_for_a_lock(file: Path):
    async def body(broker: SqliteBroker) -> int:
        await published(broker, "before")
        turns = 0
        with locked(file) as other:
            asking = asyncio.ensure_future(published(broker, "new"))
            while turns < 50:
                await asyncio.sleep(0.002)
                turns += 1
            assert not asking.done()
            other.execute("COMMIT")
        assert await asking == [PublishStatus.CREATED]
        return turns

    assert with_broker(file, body) == 50


# ── who may write ────────────────────────────────────────────────────────────


def as_nobody(path: Path) -> str:
    """Open the file as a user to whom permissions mean something; return what is said."""

    def child() -> str:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        try:
            with_broker(path, lambda broker: published(broker, "new"))
        except StoreError as error:
            return f"{type(error).__name__} {error}"
        return "opened"

    return in_a_fork(child)


@pytest.fixture
def open_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder that any user can reach: those of pytest are its own user's."""
    folder = Path("/tmp") / f"stem-faults-{os.getpid()}-{os.urandom(4).hex()}"
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    yield folder
    folder.chmod(0o777)
    shutil.rmtree(folder)


def test_a_file_that_may_not_be_written_is_refused_with_the_way_out(open_folder: Path):
    with_broker(open_folder / "tasks.db", lambda broker: published(broker, "old"))
    for path in open_folder.iterdir():
        path.chmod(0o444)
    open_folder.chmod(0o555)
    told = as_nobody(open_folder / "tasks.db")
    assert told.startswith(f"StoreMisconfigured {open_folder / 'tasks.db'}")


def test_a_folder_that_may_not_be_written_is_refused_with_the_way_out(open_folder: Path):
    open_folder.chmod(0o555)
    told = as_nobody(open_folder / "tasks.db")
    assert told.startswith("StoreMisconfigured")
    assert "may this user write in it" in told


# ── what lies there ──────────────────────────────────────────────────────────


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path):
    path = tmp_path / "tasks.db"
    content = b"not a database, but somebody's letters\n" * 200
    path.write_bytes(content)
    with pytest.raises(StoreMisconfigured, match="not an SQLite database"):
        with_broker(path, lambda broker: published(broker, "x"))
    assert path.read_bytes() == content


def test_a_file_of_a_newer_release_is_refused(file: Path):
    with closing(sqlite3.connect(file)) as other, other:
        other.execute("UPDATE stem_meta SET version = 99")
    with pytest.raises(StoreMisconfigured, match=r"version 99 .* Upgrade|Upgrade stem-core"):
        with_broker(file, lambda broker: published(broker, "x"))


def test_the_tables_of_an_application_live_beside_ours(tmp_path: Path):
    path = tmp_path / "shop.db"
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("CREATE TABLE message (a)")
        other.execute("INSERT INTO message VALUES ('mine')")
    with_broker(path, lambda broker: published(broker, "x"))
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT a FROM message").fetchall() == [("mine",)]


def test_a_damaged_file_says_so(file: Path):
    with closing(sqlite3.connect(file)) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = bytearray(file.read_bytes())
    content[4096:] = os.urandom(len(content) - 4096)
    file.write_bytes(bytes(content))
    with pytest.raises(StoreMisconfigured, match=r"damaged|lost a table"):
        with_broker(file, lambda broker: published(broker, "x", "y"))


# ── while it is open ─────────────────────────────────────────────────────────


def test_a_file_that_is_moved_away_is_missed_and_found_again(file: Path):
    away = file.with_name("away")

    async def body(broker: SqliteBroker) -> None:
        move(file, away)
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match="deleted or moved away"):
                await broker.publish([message("new")])
        assert not os.path.exists(file)  # noqa: ASYNC240
        move(away, file)
        assert await published(broker, "new") == [PublishStatus.CREATED]
        assert [found is not None for found in await broker.lookup(["old", "new"])] == [True, True]

    with_broker(file, body)


def test_whoever_waits_for_work_learns_that_the_file_is_gone(file: Path):
    async def body(broker: SqliteBroker) -> None:
        await broker.fetch(["q"], limit=1, wait_ms=0, worker="w")
        waiting = asyncio.ensure_future(broker.fetch(["q"], limit=1, wait_ms=3_600_000, worker="w"))
        await asyncio.sleep(0.01)
        move(file, file.with_name("away"))
        with pytest.raises(StoreUnavailable, match="deleted or moved away"):
            await waiting

    with_broker(file, body)


def move(source: Path, target: Path) -> None:
    for path in sorted(source.parent.glob(source.name + "*")):
        if not path.name.endswith("-turn"):
            path.rename(target.with_name(target.name + path.name.removeprefix(source.name)))


@pytest.mark.parametrize("count", [1, 2])
def test_a_file_that_is_replaced_by_another_store_is_refused(
    count: int, file: Path, tmp_path: Path
):
    other = tmp_path / "other.db"
    with_broker(other, lambda broker: published(broker, "theirs"))
    new = [message(f"new{n}") for n in range(count)]

    async def body(broker: SqliteBroker) -> None:
        await published(broker, "before")
        for path in sorted(tmp_path.glob("tasks.db-*")):  # noqa: ASYNC240
            path.unlink()
        other.replace(file)
        if count == 1:
            await asyncio.sleep(2 * LOOK_AGAIN_S)  # lone writes look no more often than that
        with pytest.raises(StoreUnavailable, match="replaced"):
            await broker.publish(new)
        with pytest.raises(StoreMisconfigured, match="Start this process again"):
            await broker.publish(new)

    with_broker(file, body)
    ids = ["theirs", *(each.id for each in new)]
    found = with_broker(file, lambda broker: broker.lookup(ids))
    assert [each is not None for each in found] == [True] + [False] * count


# ── no room ──────────────────────────────────────────────────────────────────


@contextmanager
def small_files(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond *size* bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


def test_a_write_that_finds_no_room_changes_nothing_and_the_rest_goes_on(file: Path):
    async def body(broker: SqliteBroker) -> None:
        big = [message(f"big{n}", body=b"x" * 100_000) for n in range(100)]
        with small_files(300_000), pytest.raises(StoreError):
            await broker.publish(big)
        found = await broker.lookup(["old", *(each.id for each in big)])
        assert [each is not None for each in found] == [True] + [False] * len(big)
        (delivery,) = await broker.fetch(["q"], limit=1, wait_ms=0, worker="w")
        (settled,) = await broker.settle([Settlement(receipt=delivery.receipt)])
        assert settled.status is SettleStatus.DONE
        assert {reply.status for reply in await broker.publish(big)} == {PublishStatus.CREATED}

    with_broker(file, body)


def test_a_full_disk_is_called_that(file: Path):
    async def body(broker: SqliteBroker) -> None:
        connection = broker.store._session.connection("write")
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages + 2}")
        with pytest.raises(StoreFull, match="no room"):
            await broker.publish([message("big", body=b"x" * 100_000)])
        assert await broker.lookup(["big"]) == [None]

    with_broker(file, body)


# ── forks and threads ────────────────────────────────────────────────────────


def in_a_fork(body: Callable[[], Any]) -> Any:
    """Return what *body* returns in a forked child."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()

    def child() -> None:
        theirs.send(body())

    process = context.Process(target=child)
    process.start()
    assert ours.poll(30), "the child does not answer"
    answer = ours.recv()
    process.join(30)
    assert process.exitcode == 0
    return answer


async def beside(body: Callable[[], Any]) -> Any:
    """Return what *body* returns in a plain thread: a child of one with a running loop would
    inherit the loop, and one of an executor's threads cannot end."""
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(body()))
    thread.start()
    while thread.is_alive():
        await asyncio.sleep(0.001)
    return answers[0]


def test_a_child_that_forks_while_the_file_is_open_uses_it_and_so_does_its_parent(file: Path):
    async def body(broker: SqliteBroker) -> None:
        await published(broker, "before")

        def child() -> list[str]:
            async def main() -> list[str]:
                with pytest.raises(WrongLoop):
                    await broker.lookup(["before"])
                mine = broker.sibling()
                statuses = await published(mine, "before", "from-child")
                await mine.aclose()
                return [status.value for status in statuses]

            return asyncio.run(main())

        assert await beside(lambda: in_a_fork(child)) == ["duplicate", "created"]
        # The child was the last to close the file, and what the parent writes is still kept.
        assert await published(broker, "from-child", "after") == [
            PublishStatus.DUPLICATE,
            PublishStatus.CREATED,
        ]

    with_broker(file, body)
    found = with_broker(file, lambda broker: broker.lookup(["before", "from-child", "after"]))
    assert all(found)


def test_forks_under_load_lose_nothing(file: Path):
    """Parent and children write at the same time, again and again; every reply is kept."""

    async def body(broker: SqliteBroker) -> None:
        def child(number: int) -> list[str]:
            async def main() -> list[str]:
                mine = broker.sibling()
                ids = [f"child-{number}-{n}" for n in range(20)]
                for id in ids:
                    await mine.publish([message(id)])
                await mine.aclose()
                return ids

            return asyncio.run(main())

        kept: list[str] = []
        for number in range(8):
            forking = asyncio.ensure_future(beside(partial(in_a_fork, partial(child, number))))
            while not forking.done():
                id = f"parent-{len(kept)}"
                await broker.publish([message(id)])
                kept.append(id)
                await asyncio.sleep(0)
            kept += forking.result()
        assert None not in await broker.lookup(kept)

    with_broker(file, body)


def test_handles_of_many_threads_share_one_file(file: Path):
    async def body(broker: SqliteBroker) -> None:
        async def elsewhere(number: int) -> None:
            mine = broker.sibling()
            for n in range(10):
                assert await published(mine, f"{number}-{n}") == [PublishStatus.CREATED]
            await mine.aclose()

        await asyncio.gather(
            *(asyncio.to_thread(asyncio.run, elsewhere(number)) for number in range(8))
        )
        (stats,) = await broker.admin.stats(["q"])
        assert stats.ready == 81

    with_broker(file, body)


# ── memory, and what another process cannot see ──────────────────────────────


def test_sqlite_in_memory_works_in_one_process_and_says_so(caplog: pytest.LogCaptureFixture):
    async def main() -> Any:
        async with Stem(broker="sqlite://", registry=tasks) as stem, Worker(stem):
            assert not (await stem.lane()).capabilities.multiprocess
            return await (await double.enqueue(21)).result(timeout=10)

    assert asyncio.run(main()) == 42
    assert "this process only" in caplog.text


@pytest.mark.parametrize("arguments", [["enqueue", "t"], ["queues", "list"], ["dlq", "list"]])
def test_sqlite_in_memory_is_refused_where_several_processes_meet(arguments: list[str]):
    told = subprocess.run(
        [sys.executable, "-m", "stem_core", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "STEM_BROKER_URL": "sqlite://"},
    )
    assert told.returncode == 4
    assert "this process only" in told.stderr
    assert "Traceback" not in told.stderr


def test_tls_settings_are_refused():
    from stem_core.embedded.sqlite.location import refuse_tls

    with pytest.raises(ConfigError, match="no connection to encrypt"):
        refuse_tls(True)


# ── one store or two ─────────────────────────────────────────────────────────


def test_broker_and_backend_of_one_file_are_one_store_and_a_copy_is_another(
    file: Path, tmp_path: Path
):
    copy = tmp_path / "copy.db"
    with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)

    async def main() -> list[str]:
        broker = await SqliteBroker.connect(url(file))
        backends = [await SqliteResultBackend.connect(url(path)) for path in (file, copy)]
        ids = [handle.store_id for handle in (broker, *backends)]
        for handle in (broker, *backends):
            await handle.aclose()
        return ids

    broker, same, other = asyncio.run(main())
    assert broker == same != other


def test_results_wait_for_each_other_across_handles(file: Path):
    async def main() -> Record | None:
        backend = await SqliteResultBackend.connect(url(file))
        other = await SqliteResultBackend.connect(url(file) + "?durability=normal")
        waiting = asyncio.ensure_future(backend.wait("a", timeout_ms=20_000))
        await asyncio.sleep(0)
        await other.save([Record(id="a", state=State.SUCCEEDED, value=b"1")])
        record = await waiting
        await backend.aclose()
        await other.aclose()
        return record

    record = asyncio.run(main())
    assert record is not None
    assert record.value == b"1"


def test_a_fetch_that_is_cancelled_at_any_moment_leaves_the_message_to_the_next(file: Path):
    async def body(broker: SqliteBroker) -> None:
        for turns in range(120):
            fetching = asyncio.ensure_future(
                broker.fetch(["q"], limit=1, wait_ms=60_000, worker="torn away")
            )
            for _ in range(turns):
                await asyncio.sleep(0)
            fetching.cancel()
            await asyncio.wait([fetching])
            if fetching.cancelled():
                (delivery,) = await broker.fetch(["q"], limit=1, wait_ms=0, worker="next")
            else:
                (delivery,) = fetching.result()
            assert (delivery.lapses, delivery.releases, delivery.attempt) == (0, 0, 1)
            await broker.publish([message(f"next-{turns}")])
            await broker.settle([Settlement(receipt=delivery.receipt)])

    with_broker(file, body)

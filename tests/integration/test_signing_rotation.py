"""Keys change while two worker processes work on one store: nothing is refused or restarts.

STEM_TEST_ROTATED says during how many tasks; without it some hundreds.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from services.redis import RedisServer

from stem_core.model.settings import StemConfig
from stem_core.producer.client import Stem

APP = """
from stem_core import Stem

stem = Stem()

@stem.task(name="math.square")
async def square(number: int) -> int:
    return number * number
"""
TASKS = int(os.environ.pop("STEM_TEST_ROTATED", "900"))
PATIENCE_S = 120


class Shop:
    """One store, one key file, and processes that know them by their variables."""

    def __init__(self, folder: Path, url: str) -> None:
        (folder / "app.py").write_text(APP)
        self.folder = folder
        self.keys = folder / "keys.toml"
        own = {
            "STEM_BROKER_URL": url,
            "STEM_NAMESPACE": f"rotation-{os.getpid()}",
            "STEM_SIGNER_URL": f"ed25519+file://{self.keys}",
            "STEM_LOG_FORMAT": "json",
        }
        others = {name: text for name, text in os.environ.items() if not name.startswith("STEM_")}
        self.env = {**others, **own}
        self.stem = Stem(config=StemConfig.from_environment(own))

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "stem_core", *arguments],
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def said(self, *arguments: str) -> Any:
        done = self.run(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    @contextmanager
    def worker(self, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        log = self.folder / f"worker-{len(list(self.folder.glob('worker-*')))}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "stem_core", "worker", "app:stem", *arguments],
                cwd=self.folder,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stderr=file,
            )
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)

    def logs(self) -> list[dict[str, Any]]:
        files = sorted(self.folder.glob("worker-*.log"))
        return [json.loads(line) for each in files for line in each.read_text().splitlines()]


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path, f"sqlite:///{tmp_path}/tasks.db")


@pytest.fixture
def shop_on_redis(tmp_path: Path) -> Iterator[Shop]:
    # One that keeps what it is told: a worker of any other says so as a warning.
    with RedisServer(durable=True) as server:
        yield Shop(tmp_path, server.url)


async def enqueued(stem: Stem, numbers: range) -> None:
    calls = [stem.call("math.square", {"number": number}) for number in numbers]
    await stem.enqueue_many(calls)


async def drained(stem: Stem) -> int:
    """Wait until nothing waits and nothing runs; return how many dead letters there are."""
    admin = (await stem.lane()).broker.admin
    assert admin is not None
    async with asyncio.timeout(PATIENCE_S):
        while True:
            [stats] = await admin.stats(["default"])
            if not stats.ready + stats.leased + stats.delayed + stats.parked:
                return stats.dead
            await asyncio.sleep(0.05)


async def succeeded(stem: Stem) -> int:
    count, cursor = 0, None
    while True:
        page = await stem.list(states=["succeeded"], limit=500, cursor=cursor)
        count += len(page.items)
        cursor = page.cursor
        if cursor is None:
            return count


def states(shop: Shop) -> dict[str, str]:
    return {each["id"]: each["state"] for each in shop.said("keys", "list")["keys"]}


@pytest.mark.parametrize("place", ["shop", "shop_on_redis"])
def test_keys_rotate_while_tasks_run(place: str, request: pytest.FixtureRequest) -> None:
    shop: Shop = request.getfixturevalue(place)

    async def main() -> tuple[int, int]:
        chunk = TASKS // 30
        async with shop.stem as stem:
            for number in range(30):
                await enqueued(stem, range(number * chunk, (number + 1) * chunk))
                if number == 10:  # a new key signs at once, and the old one goes on to verify
                    await asyncio.to_thread(shop.said, "keys", "rotate", "--id", "two")
                if number == 20:  # the way for machines that have files of their own
                    await asyncio.to_thread(shop.said, "keys", "rotate", "--id", "three", "--stage")
                    await asyncio.to_thread(shop.said, "keys", "rotate", "--to", "three")
            await drained(stem)
            waiting = (await asyncio.to_thread(shop.said, "keys", "status"))["keys"]
            assert {row["key_id"]: row["waiting"] for row in waiting} == {
                "one": 0, "two": 0, "three": 0,
            }  # fmt: skip
            await asyncio.to_thread(shop.said, "keys", "revoke", "one")
            await asyncio.sleep(1.1)  # who signs looks once in a second, and all that may be less
            await enqueued(stem, range(chunk))
            return await drained(stem), await succeeded(stem)

    shop.said("keys", "generate", str(shop.keys), "--id", "one")
    with shop.worker("--name", "a") as first, shop.worker("--name", "b") as second:
        dead, done = asyncio.run(main())
        assert first.poll() is None
        assert second.poll() is None
    assert dead == 0
    assert done == 31 * (TASKS // 30)
    assert states(shop) == {"one": "revoked", "two": "verify-only", "three": "active"}
    assert not [line for line in shop.logs() if line["level"] in ("warning", "error")]


def test_a_hang_up_reads_the_keys_again_in_every_process_of_a_worker(shop: Shop) -> None:
    shop.said("keys", "generate", str(shop.keys), "--id", "one")
    with shop.worker("--processes", "2") as supervisor:
        until(lambda: said(shop, "takes work") == 2)
        shop.said("keys", "rotate", "--id", "two")
        supervisor.send_signal(signal.SIGHUP)
        until(lambda: said(shop, "SIGHUP: keys read again; these verify: two, one") == 2)
        assert supervisor.poll() is None
    assert supervisor.returncode == 0


def test_a_hang_up_with_keys_that_cannot_be_used_changes_nothing(shop: Shop) -> None:
    shop.said("keys", "generate", str(shop.keys), "--id", "one")
    with shop.worker() as worker:
        until(lambda: said(shop, "durability") > 0)
        shop.keys.write_text("half a fi")
        worker.send_signal(signal.SIGHUP)
        until(lambda: said(shop, "SIGHUP: the keys cannot be used now") == 1)
        assert worker.poll() is None


def said(shop: Shop, text: str) -> int:
    return sum(text in line["message"] for line in shop.logs())


def until(is_so: Any) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.1)

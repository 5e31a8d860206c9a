"""Results that workers sign: a forged one is refused by whoever reads it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from services.server import Server
from unit.signing.rings import OTHER, SECRET, Given, an_entry

from stem_core import ConfigError, Stem
from stem_core.contracts.signer import Signer
from stem_core.model.errors import SignatureInvalid, SignatureMissing
from stem_core.model.outcome import Record, State
from stem_core.model.settings import StemConfig
from stem_core.model.value import replace
from stem_core.producer.registry import TaskRegistry
from stem_core.producer.sealing import ResultPolicy
from stem_core.worker.burst import burst
from stem_signing.keys import Kind
from stem_signing.signer import KeyringSigner

registry = TaskRegistry()


@registry.task(name="shop.price")
async def price(item: str) -> dict[str, object]:
    return {"item": item, "cents": 12_345_678_901_234, "note": "\u00e9\U0001f600"}


@registry.task(name="shop.fail", max_retries=0)
async def fail() -> None:
    raise ValueError("broken \udc80")


@pytest.fixture(params=["memory", "sqlite", "redis"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "redis":
        server: Server = request.getfixturevalue("redis_server")
        yield server.url
    elif request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/tasks.db"
    else:
        yield f"memory://{tmp_path.name}"


def ring(kind: Kind, data: bytes = SECRET) -> Signer:
    return KeyringSigner(Given([an_entry("one", kind, data)]))


def stem_with(
    url: str, policy: ResultPolicy, signer: Signer | None, namespace: str = "stem"
) -> Stem:
    config = StemConfig(namespace=namespace, signing_results=policy)
    return Stem(url, registry=registry, config=config, signer=signer)


async def one_result(stem: Stem) -> str:
    """Run a task; return its id."""
    id = await stem.enqueue("shop.price", args={"item": "lamp"})
    await burst(stem)
    return id


async def forge(stem: Stem, id: str, **changes: object) -> None:
    """Change what the backend holds, as somebody can who writes to it."""
    backend = (await stem.lane()).backend
    assert backend is not None
    (record,) = await backend.load([id])
    assert record is not None
    await backend.save([replace(record, fence=record.fence + 1, **changes)])


@pytest.mark.parametrize("kind", ["secret", "private"])
def test_a_signed_result_is_read_everywhere(url: str, kind: Kind) -> None:
    async def trial() -> None:
        async with stem_with(url, "require", ring(kind)) as stem:
            id = await one_result(stem)
            reader = ring("public" if kind == "private" else kind)
            async with stem_with(url, "require", reader) as other:
                assert (await other.result(id, timeout=5))["cents"] == 12_345_678_901_234
                status = await other.status(id)
                assert status is not None
                assert status.value["note"] == "\u00e9\U0001f600"

    asyncio.run(trial())


@pytest.mark.parametrize(
    "changes",
    [
        {"value": b'{"cents":1}'},
        {"task": "shop.free"},
        {"meta": {"paid": True}},
        {"state": State.FAILED},
        {},  # the fence alone
    ],
)
def test_a_result_that_somebody_changed_is_refused(url: str, changes: dict[str, object]) -> None:
    async def trial() -> None:
        async with stem_with(url, "accept", ring("secret")) as stem:
            id = await one_result(stem)
            await forge(stem, id, **changes)
            for ask in (lambda: stem.result(id, timeout=5), lambda: stem.status(id)):
                with pytest.raises(SignatureInvalid, match=id):
                    await ask()

    asyncio.run(trial())


def test_a_result_of_another_task_namespace_or_key_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/tasks.db"

    async def trial() -> None:
        async with stem_with(url, "require", ring("secret")) as stem:
            first, second = await one_result(stem), await one_result(stem)
            backend = (await stem.lane()).backend
            assert backend is not None
            (record,) = await backend.load([first])
            assert record is not None
            await backend.save([replace(record, id=second, fence=record.fence + 9)])
            with pytest.raises(SignatureInvalid):
                await stem.result(second, timeout=5)
            async with stem_with(url, "require", ring("secret"), namespace="other") as other:
                await save_in(other, record)
                with pytest.raises(SignatureInvalid):
                    await other.result(first, timeout=5)
            async with stem_with(url, "require", ring("secret", data=OTHER)) as stranger:
                with pytest.raises(SignatureInvalid):
                    await stranger.result(first, timeout=5)

    asyncio.run(trial())


async def save_in(stem: Stem, record: Record) -> None:
    backend = (await stem.lane()).backend
    assert backend is not None
    await backend.save([record])


def test_a_success_that_nobody_signed_is_refused_where_signatures_are_required(url: str) -> None:
    async def trial() -> None:
        async with stem_with(url, "off", ring("secret")) as stem:
            id = await one_result(stem)
        async with stem_with(url, "accept", ring("secret")) as stem:
            assert (await stem.result(id, timeout=5))["item"] == "lamp"
        async with stem_with(url, "require", ring("secret")) as stem:
            with pytest.raises(SignatureMissing, match="STEM_SIGNING_RESULTS"):
                await stem.result(id, timeout=5)

    asyncio.run(trial())


def test_a_failure_is_signed_whatever_it_says(url: str) -> None:
    async def trial() -> None:
        async with stem_with(url, "require", ring("secret")) as stem:
            id = await stem.enqueue("shop.fail")
            await burst(stem)
            status = await stem.status(id)
            assert status is not None
            assert status.error is not None
            assert "broken" in status.error.message

    asyncio.run(trial())


def test_what_cannot_be_kept_is_refused_at_the_start() -> None:
    async def trial() -> None:
        with pytest.raises(ConfigError, match="no key to verify with"):
            async with stem_with("memory://keyless", "require", None) as stem:
                await stem.lane()
        async with stem_with("memory://public", "require", ring("public")) as stem:
            with pytest.raises(ConfigError, match="no key to sign results with"):
                await burst(stem)

    asyncio.run(trial())

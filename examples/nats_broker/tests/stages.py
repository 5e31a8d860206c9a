"""A stage for the kit on which the network and the server can be spoilt."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from secrets import token_hex
from typing import Any, Self

import nats
from nats_broker.backend import NatsBackend
from nats_broker.broker import NatsBroker
from nats_broker.options import NatsOptions
from nats_broker.stream import target_of

import stem_core.plugin as stem
from stem_core.testing import Address, FaultProxy, Stage

OPTIONS = NatsOptions()


async def open_stage(url: str) -> Stage:
    """Open a namespace of its own at *url*, reached through a proxy."""
    namespace, near = f"tests-{token_hex(6)}", stem.StemURL.parse(url)
    context = stem.PluginContext(namespace=namespace)
    proxy = FaultProxy(near.hosts[0].name, near.hosts[0].port or 4222)
    await proxy.__aenter__()
    host, port = proxy.address
    through = stem.StemURL.parse(f"nats://{host}:{port}")
    keeper = Keeper.of(url, namespace)

    async def cut() -> None:
        proxy.cut()
        proxy.restore()

    stage = Stage(
        await NatsBroker.open(through, OPTIONS, context),
        await NatsBackend.open(near, OPTIONS, context),
        unit_ms=500,
        leftovers=keeper.leftovers,
        full=keeper.full,
        read_only=keeper.read_only,
        network=proxy,
        cut=cut,
        address=Address(url, url, namespace),
    )
    stage.closers.append(proxy.aclose)
    return stage


class Keeper:
    """Does to the stream what an operator can do."""

    def __init__(self, url: str, stream: str) -> None:
        self._url, self._stream = url, stream

    @classmethod
    def of(cls, url: str, namespace: str) -> Self:
        """Return the keeper of the stream of *namespace*."""
        return cls(url, target_of(stem.StemURL.parse(url), OPTIONS, namespace).stream)

    async def leftovers(self) -> Sequence[str]:
        """Return every subject that the stream holds."""
        info = await self._ask("STREAM.INFO", {"subjects_filter": ">"})
        return sorted(info["state"].get("subjects") or ())

    def full(self) -> AbstractAsyncContextManager[None]:
        """Let the stream take no byte more than it holds."""
        return self._with(lambda info: {"max_bytes": info["state"]["bytes"]})

    def read_only(self) -> AbstractAsyncContextManager[None]:
        """Let the stream take no message of more than one byte, which is none of ours."""
        return self._with(lambda info: {"max_msg_size": 1})

    @asynccontextmanager
    async def _with(
        self, settings_of: Callable[[dict[str, Any]], dict[str, int]]
    ) -> AsyncIterator[None]:
        info = await self._ask("STREAM.INFO", {})
        await self._ask("STREAM.UPDATE", info["config"] | settings_of(info))
        try:
            yield
        finally:
            await self._ask("STREAM.UPDATE", info["config"])

    async def _ask(self, verb: str, body: dict[str, Any]) -> dict[str, Any]:
        client = await nats.connect(self._url)
        try:
            subject = f"$JS.API.{verb}.{self._stream}"
            reply = await client.request(subject, json.dumps(body).encode(), timeout=5)
            answer: dict[str, Any] = json.loads(reply.data)
        finally:
            await client.close()
        assert "error" not in answer, answer
        return answer

"""Distributions that are really there: metadata and modules in a directory on the path.

Nothing of `importlib.metadata` or of the plugin host is replaced; what a test writes
here is what an installer would have written.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.metadata
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, Self

from stem_core.contracts.backend import ResultBackend
from stem_core.contracts.broker import Broker
from stem_core.contracts.capabilities import Capabilities, Durability
from stem_core.contracts.hookspecs import PluginContext
from stem_core.contracts.signer import Signer
from stem_core.discovery.host import PluginHost
from stem_core.discovery.settings import PluginSettings
from stem_core.model.urls import StemURL

CONTEXT = PluginContext(namespace="tests")

PREAMBLE = """\
from stem_core.contracts.hookspecs import *
STEM_PLUGIN_API = (1, 0)
"""


class Site:
    """One directory of the path, as an installer leaves it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.modules: list[str] = []

    def module(self, name: str, source: str) -> str:
        """Write a module and return its name."""
        (self.path / f"{name}.py").write_text(textwrap.dedent(source), encoding="utf-8")
        self.modules.append(name)
        importlib.invalidate_caches()
        return name

    def distribution(
        self, name: str, version: str = "1.0", groups: Mapping[str, Mapping[str, str]] | None = None
    ) -> None:
        """Write the metadata of a distribution; *groups* maps group to name to value."""
        folder = self.path / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8"
        )
        lines = [
            line
            for group, points in (groups or {}).items()
            for line in (f"[{group}]", *(f"{key} = {value}" for key, value in points.items()))
        ]
        (folder / "entry_points.txt").write_text("\n".join(lines), encoding="utf-8")
        importlib.invalidate_caches()

    def broker(
        self,
        scheme: str = "fake",
        *,
        distribution: str = "stem-fake",
        version: str = "1.0",
        module: str = "fake_plugin",
        spec: str = "",
        extra: str = "",
    ) -> str:
        """Install a whole broker plugin for *scheme*; *spec* is more arguments of its spec."""
        source = (
            PREAMBLE
            + textwrap.dedent(extra)
            + textwrap.dedent(
                f"""
            @hookimpl
            def stem_register_brokers():
                return [BrokerSpec(
                    schemes=({scheme!r},), factory="unit.discovery.fakes:FakeBroker", {spec}
                )]
            """
            )
        )
        self.module(module, source)
        self.distribution(distribution, version, {"stem.brokers": {scheme: module}})
        return module

    def entry_points(self, group: str) -> Iterable[EntryPoint]:
        """Return the entry points of this directory only, whatever else is installed."""
        for distribution in importlib.metadata.distributions(path=[str(self.path)]):
            yield from distribution.entry_points.select(group=group)

    def host(self, **settings: Any) -> PluginHost:
        """Return a host for which nothing is installed but this."""
        return PluginHost(PluginSettings(**settings), entry_points=self.entry_points)

    def forget(self) -> None:
        """Take what was imported from here out of the interpreter."""
        for name in self.modules:
            sys.modules.pop(name, None)


class FakeBroker(Broker):
    """Keeps what it was opened with, and moves nothing."""

    capabilities = Capabilities(durability=Durability.MEMORY)
    store_id = "fake"

    def __init__(self, url: StemURL, options: Any, context: PluginContext) -> None:
        self.url, self.options, self.context = url, options, context

    @classmethod
    async def open(cls, url: StemURL, options: Any, context: PluginContext) -> Self:
        return cls(url, options, context)

    async def publish(self, messages: Sequence[Any]) -> Sequence[Any]:
        return ()

    async def fetch(
        self, queues: Sequence[str], *, limit: int, wait_ms: int, worker: str
    ) -> Sequence[Any]:
        return ()

    async def extend(self, extensions: Sequence[Any]) -> Sequence[Any]:
        return ()

    async def settle(self, settlements: Sequence[Any]) -> Sequence[Any]:
        return ()

    async def cancel(self, cancellations: Sequence[Any]) -> Sequence[Any]:
        return ()

    async def lookup(self, ids: Sequence[str]) -> Sequence[Any]:
        return ()

    def sibling(self) -> Self:
        return self

    async def aclose(self) -> None:
        return None


class FakeSigner(Signer):
    """Signs nothing."""

    can_sign = False
    key_ids = ()

    @classmethod
    def open(cls, url: StemURL, options: Any, context: PluginContext) -> Self:
        return cls()

    def sign(self, purpose: str, body: bytes) -> Any:
        raise NotImplementedError

    def verify(self, purpose: str, body: bytes, seal: Any) -> None:
        raise NotImplementedError


def open_broker(host: PluginHost, url: str) -> Any:
    """Open the broker at *url*."""
    return asyncio.run(host.open_broker(StemURL.parse(url), CONTEXT))


def open_backend(host: PluginHost, url: str) -> ResultBackend | None:
    """Open the result backend at *url*."""
    return asyncio.run(host.open_backend(StemURL.parse(url), CONTEXT))


def open_signer(host: PluginHost, url: str) -> Signer | None:
    """Open the signer at *url*."""
    return host.open_signer(StemURL.parse(url), CONTEXT)

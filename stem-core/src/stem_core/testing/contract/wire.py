"""Opening the stores of a URL through a network that a test can spoil.

Rule of this module: what cannot be reached through a proxy, such as a server whose certificate
names its host, is opened as it is; the tests that need the network then say so.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from attrs import evolve

from stem_core.model.errors import StemError
from stem_core.model.urls import Host, StemURL
from stem_core.testing.contract.stage import Address, Stage
from stem_core.testing.faults.proxy import FaultProxy

__all__ = ["open_over_wire"]

Open = Callable[[Address], Awaitable[Stage]]


async def open_over_wire(address: Address, open_address: Open) -> Stage:
    """Open the stores at *address* with *open_address*, through a proxy if that is possible."""
    hosts = StemURL.parse(address.broker).hosts
    if len(hosts) != 1 or hosts[0].port is None:
        return await open_address(address)
    proxy = FaultProxy(hosts[0].name, hosts[0].port)
    await proxy.__aenter__()
    try:
        stage = await open_address(evolve(address, broker=_through(proxy, address.broker)))
    except BaseException as error:
        await proxy.aclose()
        if not isinstance(error, StemError):
            raise
        return await open_address(address)
    return _wired(stage, proxy, address)


def _wired(stage: Stage, proxy: FaultProxy, address: Address) -> Stage:
    async def cut() -> None:
        proxy.cut()
        proxy.restore()

    stage.network, stage.cut, stage.address = proxy, cut, address
    stage.closers.append(proxy.aclose)
    return stage


def _through(proxy: FaultProxy, url: str) -> str:
    host, port = proxy.address
    return evolve(StemURL.parse(url), hosts=(Host(host, port),)).reveal()

"""The connection to NATS, and what its errors mean. The only module that opens one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Final

import nats
from attrs import frozen
from nats import errors as nats_errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import errors as js_errors

from nats_broker.options import NatsOptions
from stem_core.plugin import (
    Fault,
    StemURL,
    StoreError,
    StoreFull,
    StoreMisconfigured,
    StoreUnavailable,
)

CONFLICTS: Final = frozenset({10071, 10164})
"""Error codes of "wrong last sequence": somebody else has written meanwhile."""

_FULL: Final = frozenset({10023, 10047, 10077, 10122})
_NOT_FOUND: Final = frozenset({10014, 10037, 10059})

DriverErrors: Final = (nats_errors.Error, js_errors.Error, OSError, EOFError, TimeoutError)


@frozen(kw_only=True)
class Target:
    """Where a namespace lives: the servers, and its stream on them."""

    url: StemURL
    options: NatsOptions
    namespace: str
    stream: str
    prefix: str

    @property
    def timeout_s(self) -> float:
        """How long the server may take to answer."""
        return self.options.timeout / 1000


async def _nothing() -> None:
    """Whoever connects for one call learns of the rest by that."""


async def connect(
    target: Target,
    *,
    is_patient: bool,
    on_cut: Callable[[], Awaitable[None]] = _nothing,
    on_reconnect: Callable[[], Awaitable[None]] = _nothing,
) -> Client:
    """Connect to a server of *target*; a patient connection comes back by itself.

    Raises:
        StoreUnavailable: no server answers within the timeout.
        StoreMisconfigured: the servers refuse the user.
    """
    url, heard = target.url, _LastError()
    secret = None if url.password is None else url.password.reveal()
    opening = nats.connect(
        servers=[f"nats://{host}" for host in url.hosts],
        user=url.username or None,
        password=secret,
        name=f"stem {target.namespace}",
        connect_timeout=max(1, int(target.timeout_s)),
        allow_reconnect=is_patient,
        max_reconnect_attempts=-1 if is_patient else 1,
        reconnect_time_wait=0.05,  # seconds; the driver only sleeps so long
        error_cb=heard.note,
        disconnected_cb=on_cut,
        reconnected_cb=on_reconnect,
    )
    try:
        return await asyncio.wait_for(opening, target.timeout_s)
    except DriverErrors as error:
        raise heard.explained(error, url) from error


class _LastError:
    """Remembers what the driver ran into while it went on trying."""

    def __init__(self) -> None:
        self._last: Exception | None = None

    async def note(self, error: Exception) -> None:
        self._last = error

    def explained(self, error: Exception, url: StemURL) -> StoreError:
        cause = self._last or error
        if "uthorization" in f"{cause!r}{error!r}":
            return StoreMisconfigured(f"{url}: the server refuses this user and password")
        return StoreUnavailable(f"{url}: {_told(cause)}")


class ConnectionLost(StoreUnavailable):
    """The connection went while a request was under way: whether it was done is not known."""


class Link:
    """Requests over one connection, with errors that Stem understands."""

    def __init__(self, client: Client, target: Target) -> None:
        self.client, self.target = client, target
        self._asking: set[asyncio.Task[Msg]] = set()
        self._cut: set[asyncio.Task[Msg]] = set()

        self._is_up = asyncio.Event()
        self._is_up.set()

    def come_back(self) -> None:
        """Let requests go out again."""
        self._is_up.set()

    def give_up(self) -> None:
        """Let every request end: the connection on which its answer would come is gone."""
        self._is_up.clear()
        self._cut |= self._asking
        for asking in self._asking:
            asking.cancel()

    async def ask(self, verb: str, body: Mapping[str, Any]) -> dict[str, Any] | None:
        """Call the JetStream API; None when what is asked for does not exist.

        Raises:
            ConnectionLost, StoreUnavailable: as `request` does.
            StoreError: the server refuses.
        """
        data = json.dumps(body).encode()
        reply = await self.request(f"$JS.API.{verb}", data, {})
        code = error_code(reply)
        if code in _NOT_FOUND:
            return None
        if code:
            raise refusal(reply)
        return reply

    async def request(
        self, subject: str, data: bytes, headers: Mapping[str, str]
    ) -> dict[str, Any]:
        """Send *data*, and return the JSON that the server answers.

        Raises:
            ConnectionLost: with the connection went the answer, if there was one.
            StoreUnavailable: it does not answer in time, or there is no JetStream.
        """
        await self._until_up()
        requesting = self.client.request(
            subject, data, timeout=self.target.timeout_s, headers=dict(headers) or None
        )
        asking = asyncio.ensure_future(requesting)
        self._asking.add(asking)
        try:
            reply: dict[str, Any] = json.loads((await asking).data)
        except DriverErrors as error:
            raise unavailable(error, self.target.url) from error
        except asyncio.CancelledError:
            if asking in self._cut and not _is_cancelled():
                raise ConnectionLost(f"{self.target.url}: the connection was lost") from None
            raise
        finally:
            self._asking.discard(asking)
            self._cut.discard(asking)
        return reply

    async def send(self, subject: str, data: bytes, headers: Mapping[str, str]) -> None:
        """Send *data* and wait for no answer."""
        await self._until_up()
        try:
            await self.client.publish(subject, data, headers=dict(headers))
        except DriverErrors as error:
            raise unavailable(error, self.target.url) from error

    async def _until_up(self) -> None:
        if self._is_up.is_set():
            return
        try:
            await asyncio.wait_for(self._is_up.wait(), self.target.timeout_s)
        except TimeoutError as error:
            raise unavailable(error, self.target.url) from error

    async def aclose(self) -> None:
        """Close the connection."""
        with suppress(*DriverErrors):  # it is gone, which is what was asked for
            await self.client.close()


def _is_cancelled() -> bool:
    """Say whether somebody wants the running task to end."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def error_code(reply: Mapping[str, Any]) -> int:
    """Return the JetStream error code of *reply*; 0 when it is none."""
    return int(reply.get("error", {}).get("err_code", 0))


def refusal(reply: Mapping[str, Any]) -> StoreError:
    """Return the error that *reply* tells of."""
    text = str(reply["error"].get("description", "no reason given"))
    if error_code(reply) in _FULL:
        return StoreFull(f"NATS: {text}")
    return StoreError(f"NATS: {text}", fault=Fault.BACKOFF)


def unavailable(error: BaseException, url: StemURL) -> StoreUnavailable:
    """Return what *error* of the driver means."""
    if isinstance(error, nats_errors.NoRespondersError):
        return StoreUnavailable(
            f"{url}: nobody answers for JetStream", way_out="Start nats-server with -js."
        )
    return StoreUnavailable(f"{url}: {_told(error)}")


def _told(error: BaseException) -> str:
    return str(error) or type(error).__name__

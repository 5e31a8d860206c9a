"""Brokers and signers with a will of their own. They keep the contract; nothing is mocked."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import itertools
from collections.abc import Sequence
from typing import Self

from stem_core.contracts.broker import TransactionalBroker
from stem_core.contracts.capabilities import Capabilities, Support
from stem_core.contracts.messages import (
    Message,
    Published,
    PublishStatus,
    Settled,
    Settlement,
)
from stem_core.contracts.signer import Signer
from stem_core.embedded.memory.broker import CAPABILITIES, InMemoryBroker
from stem_core.model.errors import SignatureInvalid, SignatureMissing, StoreError
from stem_core.model.seal import Seal, pae
from stem_core.model.value import replace

_names = itertools.count()


def fresh_name() -> str:
    """Return the name of a store that no other test uses."""
    return f"test-{next(_names)}"


class Skipping(asyncio.SelectorEventLoop):
    """A loop whose time can be moved on."""

    skipped = 0.0

    def time(self) -> float:
        return super().time() + self.skipped

    def skip(self, seconds: float) -> None:
        self.skipped += seconds


class Willful(InMemoryBroker):
    """A broker that can be told to fail, to hold its answers back, and to be poor.

    Attributes:
        batches: how many messages each publish call had.
        faults: raised by the next calls, in order.
        gate: publish waits for it.
        refused: tasks that it refuses.
    """

    def __init__(self, name: str = "", *, capabilities: Capabilities = CAPABILITIES) -> None:
        super().__init__(name or fresh_name())
        self.batches: list[int] = []
        self.faults: list[StoreError] = []
        self.gate: asyncio.Event | None = None
        self.refused: set[str] = set()
        self.given = capabilities

    @property
    def capabilities(self) -> Capabilities:
        return self.given

    def sibling(self) -> Self:
        other = super().sibling()
        other.batches, other.faults, other.gate = self.batches, self.faults, None
        other.refused, other.given = self.refused, self.given
        return other

    async def publish(self, messages: Sequence[Message]) -> Sequence[Published]:
        if self.gate is not None:
            await self.gate.wait()
        if self.faults:
            raise self.faults.pop(0)
        self.batches.append(len(messages))
        good = [message for message in messages if message.task not in self.refused]
        replies = iter(await super().publish(good))
        return [
            Published(PublishStatus.REFUSED, message.id, "not today")
            if message.task in self.refused
            else next(replies)
            for message in messages
        ]


class Connection:
    """A transaction that a test commits."""

    def __init__(self) -> None:
        self.pending: list[Message] = []
        self.settled: list[Settlement] = []


class Transactional(InMemoryBroker, TransactionalBroker):
    """A broker whose messages wait in a `Connection` until the test commits it."""

    def __init__(self, name: str = "") -> None:
        super().__init__(name or fresh_name())

    @property
    def capabilities(self) -> Capabilities:
        return replace(CAPABILITIES, transactional=Support.NATIVE)

    def accepts(self, connection: object) -> bool:
        return isinstance(connection, Connection)

    async def publish_in(
        self, connection: object, messages: Sequence[Message]
    ) -> Sequence[Published]:
        return self.publish_in_sync(connection, messages)

    def publish_in_sync(
        self, connection: object, messages: Sequence[Message]
    ) -> Sequence[Published]:
        assert isinstance(connection, Connection)
        connection.pending.extend(messages)
        return [Published(PublishStatus.CREATED, message.id) for message in messages]

    async def settle_in(
        self, connection: object, settlements: Sequence[Settlement]
    ) -> Sequence[Settled]:
        return self.settle_in_sync(connection, settlements)

    def settle_in_sync(
        self, connection: object, settlements: Sequence[Settlement]
    ) -> Sequence[Settled]:
        raise AssertionError("no test settles in a transaction")


class HmacSigner(Signer):
    """The shortest signer that keeps the contract."""

    def __init__(self, key: bytes = b"k" * 32, key_id: str = "one") -> None:
        self._key = key
        self._key_id = key_id

    @property
    def can_sign(self) -> bool:
        return True

    @property
    def key_ids(self) -> Sequence[str]:
        return [self._key_id]

    def sign(self, purpose: str, body: bytes) -> Seal:
        return Seal("hmac-sha256", self._key_id, self._mac(purpose, body))

    def verify(self, purpose: str, body: bytes, seal: Seal) -> None:
        if seal.is_empty:
            raise SignatureMissing("nobody signed it")
        if seal.key_id != self._key_id or not hmac.compare_digest(
            seal.signature, self._mac(purpose, body)
        ):
            raise SignatureInvalid("the signature does not fit")

    def _mac(self, purpose: str, body: bytes) -> bytes:
        text = pae(purpose, "hmac-sha256", self._key_id, body)
        return hmac.digest(self._key, text, hashlib.sha256)

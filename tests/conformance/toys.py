"""Small stores for the kit to prove: right ones, and the same with one bug.

What the stores of this repository do not have yet, a signer and transactions, is proven
with these, so that no test of the kit is one that nobody ever ran.
"""

from __future__ import annotations

import hashlib
import hmac
import itertools
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager

from attrs import define, field

from stem_core.contracts.broker import TransactionalBroker
from stem_core.contracts.capabilities import Capabilities, Support
from stem_core.contracts.control import ControlChannel, ControlMessage
from stem_core.contracts.messages import (
    Extended,
    ExtendStatus,
    Extension,
    Message,
    Published,
    PublishStatus,
    Settled,
    Settlement,
    SettleStatus,
)
from stem_core.contracts.signer import Signer
from stem_core.embedded.memory.broker import CAPABILITIES, InMemoryBroker
from stem_core.embedded.memory.control import MemoryControl
from stem_core.model.errors import SignatureError, SignatureInvalid, SignatureMissing
from stem_core.model.seal import Seal, pae
from stem_core.model.value import replace

_numbers = itertools.count()


# ── a signer ─────────────────────────────────────────────────────────────────


class ToySigner(Signer):
    """HMAC with one key; *bug* names what it does wrong."""

    algorithm = "hmac-toy"

    def __init__(self, bug: str = "", *, can_sign: bool = True) -> None:
        self.bug = bug
        self._can_sign = can_sign

    @property
    def can_sign(self) -> bool:
        return self._can_sign

    @property
    def key_ids(self) -> Sequence[str]:
        return ["k1"]

    def _mac(self, purpose: str, algorithm: str, key_id: str, body: bytes) -> bytes:
        covered = {
            "purpose not covered": pae("", algorithm, key_id, body),
            "end of body not covered": pae(purpose, algorithm, key_id, body[:8]),
        }
        signed = covered.get(self.bug, pae(purpose, algorithm, key_id, body))
        return hmac.digest(b"secret", signed, hashlib.sha256)

    def sign(self, purpose: str, body: bytes) -> Seal:
        if not self.can_sign and self.bug != "signs without a key":
            raise SignatureError("no signing key")
        mac = self._mac(purpose, self.algorithm, "k1", body)
        return Seal(self.algorithm, "k1", mac)

    def verify(self, purpose: str, body: bytes, seal: Seal) -> None:
        if seal.is_empty and self.bug != "empty is invalid":
            raise SignatureMissing("nobody signed")
        if seal.key_id != "k1" and self.bug != "any key":
            told = "unknown key" if self.bug == "tells which check" else "invalid signature"
            raise SignatureInvalid(told)
        mac = self._mac(purpose, self.algorithm, "k1", body)
        given = seal.signature[: len(mac)] if self.bug == "prefix" else seal.signature
        is_same = hmac.compare_digest(mac, given)
        if not is_same or (seal.algorithm != self.algorithm and self.bug != "any algorithm"):
            raise SignatureInvalid("invalid signature")


# ── a broker with transactions ───────────────────────────────────────────────


@define
class Connection:
    """What waits for the commit."""

    messages: list[Message] = field(factory=list)
    settlements: list[Settlement] = field(factory=list)


class ToyTransactions(InMemoryBroker, TransactionalBroker):
    """Memory with transactions that keep what is asked until the commit."""

    bug = ""

    @classmethod
    def fresh(cls, bug: str = "") -> ToyTransactions:
        broker = cls(f"toy-{next(_numbers)}")
        broker.bug = bug
        return broker

    @property
    def capabilities(self) -> Capabilities:
        return replace(CAPABILITIES, transactional=Support.EMULATED)

    def accepts(self, connection: object) -> bool:
        return self.bug == "accepts anything" or isinstance(connection, Connection)

    def publish_in_sync(
        self, connection: object, messages: Sequence[Message]
    ) -> Sequence[Published]:
        assert isinstance(connection, Connection)
        connection.messages += messages
        if self.bug == "publishes at once":
            self.commit(connection)
        return [Published(PublishStatus.CREATED, each.id) for each in messages]

    def settle_in_sync(
        self, connection: object, settlements: Sequence[Settlement]
    ) -> Sequence[Settled]:
        assert isinstance(connection, Connection)
        connection.settlements += settlements
        if self.bug == "settles at once":
            self.commit(connection)
        return [Settled(SettleStatus.DONE) for _ in settlements]

    async def publish_in(
        self, connection: object, messages: Sequence[Message]
    ) -> Sequence[Published]:
        return self.publish_in_sync(connection, messages)

    async def settle_in(
        self, connection: object, settlements: Sequence[Settlement]
    ) -> Sequence[Settled]:
        return self.settle_in_sync(connection, settlements)

    async def extend(self, extensions: Sequence[Extension]) -> Sequence[Extended]:
        if self.bug == "what is locked is lost":
            return [Extended(ExtendStatus.LOST) for _ in extensions]
        return await super().extend(extensions)

    def commit(self, connection: Connection) -> None:
        """Let what waits happen."""
        self.store.step(self.store.machine.settle, connection.settlements)
        self.store.step(self.store.machine.publish, connection.messages)
        connection.messages, connection.settlements = [], []

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Begin; commit at the end unless an exception leaves."""
        connection = Connection()
        yield connection
        if self.bug != "forgets to commit":
            self.commit(connection)

    @contextmanager
    def transaction_sync(self) -> Iterator[Connection]:
        """The same, blocking."""
        connection = Connection()
        yield connection
        self.commit(connection)


# ── a control channel whose connections can be cut ───────────────────────────


class Cuttable(InMemoryBroker):
    """Memory whose listeners lose their connection when they are told to."""

    cuts = 0
    comes_back = True

    @property
    def control(self) -> ControlChannel:
        return _CuttableControl(self)

    def sibling(self) -> Cuttable:
        twin = super().sibling()
        twin.parent = self  # type: ignore[attr-defined]
        return twin


class _CuttableControl(MemoryControl):
    def __init__(self, broker: Cuttable) -> None:
        super().__init__(broker)
        self.broker = getattr(broker, "parent", broker)

    async def listen(self) -> AsyncIterator[ControlMessage]:
        cuts = self.broker.cuts
        while True:
            async for each in super().listen():
                if self.broker.cuts > cuts:  # it came by the connection that is gone
                    break
                yield each
            cuts = self.broker.cuts
            if not self.broker.comes_back:
                return

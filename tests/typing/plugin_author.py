"""The side of who writes a plugin, as a type checker sees it."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Self, assert_type

from attrs import frozen

from stem_core.plugin import (
    ACK,
    SYSTEM_CLOCK,
    Ack,
    AppInfo,
    BackendFactory,
    BackendSpec,
    Broker,
    BrokerFactory,
    BrokerSpec,
    Cancellation,
    Cancelled,
    Capabilities,
    Clock,
    CommandSpec,
    DeadLetter,
    Delivery,
    Durability,
    Envelope,
    Event,
    Extended,
    ExtendStatus,
    Extension,
    Host,
    Located,
    Message,
    Middleware,
    Milliseconds,
    Observer,
    PluginContext,
    Published,
    PublishStatus,
    Release,
    ResultBackend,
    RetryLater,
    Seal,
    Secret,
    Settled,
    Settlement,
    Signer,
    SignerFactory,
    SignerSpec,
    StemURL,
    Support,
    hookimpl,
    options_from_query,
    pae,
    to_ms,
)

POLL = Milliseconds(20)


@frozen(kw_only=True)
class Options:
    poll: Milliseconds = POLL
    token: Secret[str] | None = None


class Complete(Broker):
    """A broker with every verb of the contract."""

    @classmethod
    async def open(cls, url: StemURL, options: Options, context: PluginContext) -> Self:
        assert_type(url.hosts, tuple[Host, ...])
        assert_type(url.password, Secret[str] | None)
        assert_type(context.clock, Clock)
        assert_type(context.namespace, str)
        assert_type(context.clock.wall_ms(), int)
        url.hosts[0].prt  # E: a typo
        context.namespace = "x"  # E: it is frozen
        return cls()

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(durability=Durability.SYNCED, delay=Support.NATIVE)

    @property
    def store_id(self) -> str:
        return "one"

    async def publish(self, messages: Sequence[Message]) -> Sequence[Published]:
        return [Published(PublishStatus.CREATED, each.id) for each in messages]

    async def fetch(
        self, queues: Sequence[str], *, limit: int, wait_ms: int, worker: str
    ) -> Sequence[Delivery]:
        return []

    async def extend(self, extensions: Sequence[Extension]) -> Sequence[Extended]:
        return [Extended(ExtendStatus.LOST) for _ in extensions]

    async def settle(self, settlements: Sequence[Settlement]) -> Sequence[Settled]:
        return [self.settled(each) for each in settlements]

    def settled(self, settlement: Settlement) -> Settled:
        match settlement.outcome:
            case Ack():
                raise NotImplementedError
            case RetryLater(after_ms=after_ms) | Release(after_ms=after_ms):
                assert_type(after_ms, int)
                raise NotImplementedError
            case DeadLetter():
                raise NotImplementedError

    async def cancel(self, cancellations: Sequence[Cancellation]) -> Sequence[Cancelled]:
        return []

    async def lookup(self, ids: Sequence[str]) -> Sequence[Located | None]:
        return [None for _ in ids]

    def sibling(self) -> Self:
        return type(self)()

    async def aclose(self) -> None: ...


class Forgetful(Complete):
    async def fetch(self, queues: Sequence[str], *, limit: int) -> Sequence[Delivery]:  # E
        return []


class Sloppy(Complete):
    async def publish(self, messages: Sequence[Message]) -> None: ...  # E: answers for each


class Blocking(Complete):
    def extend(self, extensions: Sequence[Extension]) -> Sequence[Extended]:  # E: is awaited
        return []


class Unfinished(Broker):
    async def aclose(self) -> None: ...


class Stamp(Signer):
    @property
    def can_sign(self) -> bool:
        return True

    @property
    def key_ids(self) -> Sequence[str]:
        return ["k1"]

    def sign(self, purpose: str, body: bytes) -> Seal:
        assert_type(pae(purpose, "alg", "k1", body), bytes)
        return Seal(algorithm="alg", key_id="k1", signature=b"x")

    def verify(self, purpose: str, body: bytes, seal: Seal) -> None: ...

    @classmethod
    def open(cls, url: StemURL, options: None, context: PluginContext) -> Self:
        return cls()


complete: Broker = Complete()
Broker()  # E: a contract, not a broker
Unfinished()  # E: eight verbs are missing
Signer()  # E: a contract
opens: BrokerFactory = Complete
signs: SignerFactory = Stamp
not_a_broker: BrokerFactory = Stamp  # E: opens something else, and at once
not_a_backend: BackendFactory = Complete  # E: opens a broker
not_a_signer: SignerFactory = Complete  # E: opens a broker


async def opened(factory: BackendFactory, url: StemURL) -> None:
    assert_type(await factory.open(url, None, PluginContext()), ResultBackend | None)


# ── what a plugin offers ─────────────────────────────────────────────────────


@hookimpl
def stem_register_brokers() -> Sequence[BrokerSpec]:
    return [BrokerSpec(schemes=("acme",), factory="acme.broker:Complete")]


@hookimpl
def stem_register_backends() -> Sequence[BackendSpec]:
    return [BrokerSpec(schemes=("acme",), factory="acme.broker:Complete")]  # E: a broker


@hookimpl(wrapper=True)
def stem_open_broker() -> None: ...


assert_type(stem_register_brokers(), Sequence[BrokerSpec])
BrokerSpec(factory="acme:Complete")  # E: which schemes
BrokerSpec(schemes=("acme",), factory=Complete)  # E: named by text, imported when needed
BrokerSpec(schemes=("acme",), factory="x:y", optoins="x:z")  # E: a typo
SignerSpec(schemes=["acme"], factory="x:y")  # E: a tuple
CommandSpec(name="acme")  # E: which command
Capabilities(durability="synced", delay=Support.NATIVE)  # E: a Durability
AppInfo(namespace="shop", role="broker")  # E: no such role


class Tag(Middleware):
    def on_enqueue(self, envelope: Envelope) -> Envelope:
        return envelope


class Lossy(Middleware):
    def on_enqueue(self, envelope: Envelope) -> None: ...  # E: returns the envelope


class Counts:
    def on_event(self, event: Event, /) -> None:
        assert_type((event.name, event.at_ms, event.task), tuple[str, int, str])


class Miscounts:
    def on_event(self, event: str, /) -> None: ...


counting: Observer = Counts()
miscounting: Observer = Miscounts()  # E: it is told an Event


# ── values ───────────────────────────────────────────────────────────────────

assert_type(options_from_query(Options, [("poll", "1s")], source="STEM_BROKER_URL"), Options)
assert_type(to_ms("5m", field="poll"), int)
assert_type(SYSTEM_CLOCK.monotonic_ms(), int)
assert_type(ACK, Ack)
options_from_query(Options, {"poll": "1s"}, source="x")  # E: pairs, in order
options_from_query(Options, [])  # E: whose they are
Published("created", "id")  # E: a PublishStatus
Extended(PublishStatus.CREATED)  # E: an ExtendStatus
RetryLater(after_ms="1s")  # E: milliseconds
Secret("x").value  # E: revealed on purpose, never by the way
str(Secret("x").reveal())


async def awaited(broker: Broker, message: Message) -> None:
    assert_type(await broker.publish([message]), Sequence[Published])
    assert_type(await broker.lookup(["id"]), Sequence[Located | None])
    assert_type(broker.sibling(), Broker)
    await broker.fetch(["q"], limit=1, wait_ms=0)  # E: for which worker
    await broker.publish(message)  # E: a batch
    broker.aclose()  # E: nobody awaits it
    message.id = "x"  # E: it is frozen


def returned() -> Awaitable[Broker]:
    return Complete.open(StemURL.parse("acme://h"), Options(), PluginContext())

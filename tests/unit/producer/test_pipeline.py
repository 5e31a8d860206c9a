from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.producer.shop import charge, export, tasks
from unit.producer.stores import HmacSigner

from stem_core.contracts.capabilities import Capabilities, Durability, Support
from stem_core.contracts.hookspecs import Middleware
from stem_core.contracts.messages import Message
from stem_core.embedded.memory.broker import CAPABILITIES
from stem_core.model.codec import decode
from stem_core.model.envelope import Envelope
from stem_core.model.errors import (
    CapabilityMissing,
    InvalidOption,
    MalformedEnvelope,
    NotEncodable,
    PayloadTooLarge,
    SignatureInvalid,
    SignatureMissing,
    UnsupportedVersion,
)
from stem_core.model.options import TaskOptions, Unique
from stem_core.model.settings import StemConfig
from stem_core.model.value import replace
from stem_core.producer.pipeline import Pipeline
from stem_core.producer.registry import TaskRegistry
from stem_core.producer.tasks import Call, call_by_name
from stem_core.testing.clock import FakeClock, LoadedDice

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
NOON_MS = 1_767_268_800_000
POOR = Capabilities(durability=Durability.MEMORY, dedupe=Support.ABSENT)


def pipeline(
    registry: TaskRegistry = tasks, *, config: StemConfig | None = None, **given: Any
) -> Pipeline:
    made = Pipeline(
        config or StemConfig(), registry, clock=FakeClock(NOON), dice=LoadedDice(), **given
    )
    made.serve(CAPABILITIES)
    return made


def by_name(name: str = "a.b", args: Any = None, options: Any = None, **how: Any) -> Call[Any]:
    return call_by_name(name, args, options, how)


# ── a call becomes a message ─────────────────────────────────────────────────


def test_a_plain_call_says_what_it_is_and_nothing_else() -> None:
    message = pipeline().prepare(by_name("a.b", {"x": 1}))
    assert decode(message.body) == Envelope(
        id=message.id,
        task="a.b",
        namespace="stem",
        queue="default",
        enqueued_at_ms=NOON_MS,
        args={"x": 1},
    )
    assert message == Message(id=message.id, queue="default", task="a.b", body=message.body)


def test_a_call_that_says_everything_travels_whole() -> None:
    call = charge.using(
        queue="fast",
        priority=7,
        max_retries=0,
        visibility_timeout="1m",
        expires="1h",
        not_before=NOON,
        headers={"traceparent": "00-1"},
        meta={"by": "finance"},
        task_id="mine",
    ).call("ada")
    message = pipeline().prepare(call, parent="p", root="r")
    envelope = decode(message.body)
    assert envelope == Envelope(
        id="mine",
        task="billing.charge",
        namespace="stem",
        queue="fast",
        enqueued_at_ms=NOON_MS,
        args={"customer": "ada"},
        headers={"traceparent": "00-1"},
        meta={"by": "finance"},
        not_before_ms=NOON_MS,
        expires_at_ms=NOON_MS + 3_600_000,
        priority=7,
        options={
            "queue": "fast",
            "max_retries": 0,
            "priority": 7,
            "visibility_timeout_ms": 60_000,
            "expires_ms": 3_600_000,
        },
        parent="p",
        root="r",
    )
    assert message == Message(
        id="mine",
        queue="fast",
        task="billing.charge",
        body=message.body,
        priority=7,
        not_before_ms=NOON_MS,
        expires_at_ms=NOON_MS + 3_600_000,
        lease_ms=60_000,
        dedupe_for_ms=600_000,
    )


def test_ids_follow_time_and_no_two_are_equal() -> None:
    made = pipeline()
    ids = [made.prepare(by_name()).id for _ in range(100)]
    assert len(set(ids)) == 100
    assert ids == sorted(ids)
    assert {each[14] for each in ids} == {"7"}


def test_calls_that_are_sent_together_become_what_each_would_alone() -> None:
    calls = [
        by_name("a.b", {"x": 1}),
        by_name("a.b"),
        by_name("a.b", {"x": 2}, task_id="mine", meta={"by": "ada"}),
        by_name("a.b", {"x": 3}, TaskOptions(priority=3), headers={"trace": "1"}),
        by_name("c.d", {"x": [1.5, {"y": None}]}),
    ]
    together, alone = list(pipeline().prepare_all(calls)), [pipeline().prepare(c) for c in calls]
    for one, other in zip(together, alone, strict=True):
        one_body, other_body = decode(one.body), decode(other.body)
        assert replace(one_body, id="") == replace(other_body, id="")
        assert one_body.id == one.id
        assert replace(one, id="", body=b"") == replace(other, id="", body=b"")


@given(st.lists(st.booleans(), max_size=1_100))
def test_messages_of_many_calls_are_the_same_however_often_one_looks(given: list[bool]) -> None:
    calls = [by_name("a.b", {"x": 1}, headers={"a": "b"} if has else None) for has in given]
    prepared = pipeline().prepare_all(calls)
    first = list(islice(iter(prepared), len(calls) // 2))
    whole = list(prepared)
    assert len(prepared) == len(whole) == len({message.id for message in whole}) == len(calls)
    assert whole[: len(first)] == first
    assert list(prepared) == whole
    assert all(message in prepared for message in whole[:2])


def test_none_of_many_is_made_before_all_are_checked() -> None:
    rolled = LoadedDice()
    made = Pipeline(StemConfig(), tasks, clock=FakeClock(NOON), dice=rolled)
    with pytest.raises(NotEncodable) as caught:
        made.prepare_all([by_name("a.b"), by_name("a.b", {"x": b""}), by_name("a.b")])
    assert caught.value.__notes__ == ["call 1 of enqueue_many; none of them was published"]
    assert rolled.bytes(8) == LoadedDice().bytes(8)


@pytest.mark.parametrize(
    ("call", "queue"),
    [
        (by_name("billing.charge"), "billing"),
        (by_name("billing.charge", options=TaskOptions(queue="call")), "call"),
        (by_name("billing.refund"), "routed"),
        (by_name("mail.send"), "low"),
    ],
    ids=["registration", "call", "route", "default"],
)
def test_the_queue_is_of_the_call_or_the_registration_or_a_route_or_the_default(
    call: Call[Any], queue: str
) -> None:
    config = StemConfig(routes={"billing.*": "routed"}, default_queue="low")
    assert pipeline(config=config).prepare(call).queue == queue


def test_what_nobody_gave_overrides_nothing() -> None:
    envelope = decode(pipeline(TaskRegistry()).prepare(by_name("billing.charge")).body)
    assert envelope.options == {}


def test_zero_given_at_the_call_beats_the_registration() -> None:
    message = pipeline().prepare(charge.using(max_retries=0).call("ada"))
    assert decode(message.body).options == {"queue": "billing", "max_retries": 0}


def test_an_alias_has_the_options_of_its_task() -> None:
    registry = TaskRegistry()
    registry.task(name="new", aliases=["old"], queue="q")(charge.fn)
    assert pipeline(registry).prepare(by_name("old")).queue == "q"


def test_a_task_that_is_registered_later_is_known_from_then_on() -> None:
    registry = TaskRegistry()
    made = pipeline(registry)
    assert made.prepare(by_name("late")).queue == "default"
    registry.task(name="late", queue="q")(charge.fn)
    assert made.prepare(by_name("late")).queue == "q"


def test_a_generated_id_is_remembered_twice_as_long_as_a_publish_can_take() -> None:
    config = StemConfig(publish_deadline_ms=3_000)  # type: ignore[arg-type]
    assert pipeline(config=config).prepare(by_name()).dedupe_for_ms == 6_000


def test_a_follow_up_gets_its_parents_headers_unless_it_says_otherwise() -> None:
    call = by_name(headers={"b": "mine"})
    message = pipeline().prepare(call, task_id="child", headers={"a": "theirs", "b": "theirs"})
    assert decode(message.body).headers == {"a": "theirs", "b": "mine"}
    assert message.id == "child"


def test_two_calls_share_nothing_that_can_be_changed() -> None:
    class Scribbler(Middleware):
        def on_enqueue(self, envelope: Envelope) -> Envelope:
            envelope.headers["n"] = envelope.meta["n"] = str(len(envelope.meta))
            return envelope

    made = pipeline(middleware=[Scribbler()])
    bodies = [decode(made.prepare(by_name()).body) for _ in range(2)]
    assert [each.headers for each in bodies] == [{"n": "0"}, {"n": "0"}]


@pytest.mark.parametrize(
    ("args", "path"),
    [
        ({"x": float("nan")}, "args.x"),
        ({"x": b"raw"}, "args.x"),
        ({"x": {1, 2}}, "args.x"),
        ({"x": "\ud800"}, "args.x"),
        ({"x": {7: "seven"}}, "args.x"),
        ({7: "seven"}, "args"),
    ],
)
def test_arguments_that_are_no_json_are_refused_with_their_path(args: Any, path: str) -> None:
    with pytest.raises(NotEncodable, match=path):
        pipeline().prepare(by_name("a.b", args))


def test_arguments_of_a_depth_that_no_stack_holds_are_refused() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(NotEncodable):
        pipeline().prepare(by_name("a.b", {"x": deep}))
    with pytest.raises(NotEncodable):
        pipeline().prepare(by_name("a.b", {"x": deep}, TaskOptions(unique=True)))


def test_args_are_an_object() -> None:
    with pytest.raises(NotEncodable, match="args: an object"):
        by_name("a.b", ["x"])


@pytest.mark.parametrize("limit", ["configured", "the broker's"])
def test_a_body_over_the_smaller_limit_is_refused(limit: str) -> None:
    config = StemConfig(max_payload=2048 if limit == "configured" else 1_000_000)
    made = pipeline(config=config)
    made.serve(replace(CAPABILITIES, max_payload=1_000_000 if limit == "configured" else 2048))
    made.prepare(by_name("a.b", {"x": "y" * 1000}))
    with pytest.raises(PayloadTooLarge, match="2048"):
        made.prepare(by_name("a.b", {"x": "y" * 3000}))


# ── options that nobody honours ──────────────────────────────────────────────


@pytest.mark.parametrize(
    ("options", "how", "says"),
    [
        ({"priority": 1}, {}, "'priority'"),
        ({"unique": True}, {}, "'uniqueness'"),
        ({}, {"delay": "5m"}, "'delay'"),
        ({}, {"not_before": NOON}, "'delay'"),
        ({}, {"task_id": "mine"}, "'dedupe'"),
    ],
)
def test_what_the_broker_cannot_do_is_refused_by_name(options: Any, how: Any, says: str) -> None:
    made = pipeline()
    call = by_name("a.b", None, TaskOptions(**options), **how)
    made.prepare(call)
    made.serve(POOR)
    with pytest.raises(CapabilityMissing, match=says):
        made.prepare(call)
    made.prepare(by_name(options=TaskOptions(priority=0, unique=False), delay=0))


def test_a_delay_longer_than_the_broker_can_keep_is_refused() -> None:
    made = pipeline()
    made.serve(replace(CAPABILITIES, max_delay_ms=60_000))
    made.prepare(by_name(delay="1m"))
    with pytest.raises(CapabilityMissing, match="at most 1m"):
        made.prepare(by_name(delay="61s"))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (by_name(options=TaskOptions(rate_limit="9/s")), "rate_limit='9/s'"),
        (by_name(options=TaskOptions(ack_early=True)), "ack_early"),
        (by_name(options=TaskOptions(isolation="thread", hard_time_limit=1)), "hard_time_limit"),
    ],
)
def test_what_is_not_built_yet_is_refused_and_never_ignored(call: Call[Any], says: str) -> None:
    with pytest.raises(CapabilityMissing, match=says):
        pipeline().prepare(call)


# ── uniqueness ───────────────────────────────────────────────────────────────


def key(args: Mapping[str, Any], unique: Any = True, name: str = "a.b", **how: Any) -> str:
    message = pipeline().prepare(by_name(name, args, TaskOptions(unique=unique), **how))
    assert message.unique is not None
    return message.unique.key


def test_a_unique_key_is_of_the_task_and_its_arguments_and_of_nothing_else() -> None:
    assert key({"a": 1, "b": 2}) == key(
        {"b": 2, "a": 1}, headers={"traceparent": "x"}, meta={"m": 1}
    )
    assert len({key({"a": 1}), key({"a": 2}), key({"a": "1"}), key({"a": 1}, name="a.c")}) == 4


def test_a_unique_key_can_be_of_some_arguments() -> None:
    assert key({"a": 1, "b": 2}, ("a",)) == key({"a": 1, "b": 3}, ("a",))
    assert key({"a": 1, "b": 2}, ("a",)) != key({"a": 2, "b": 2}, ("a",))


def test_what_frees_a_key_travels_with_it() -> None:
    call = by_name(options=TaskOptions(unique=Unique(until="window", window="90s")))
    message = pipeline().prepare(call)
    assert message.unique is not None
    assert (message.unique.until, message.unique.window_ms) == ("window", 90_000)


def test_a_name_that_is_no_parameter_of_a_task_known_here_is_refused() -> None:
    with pytest.raises(InvalidOption, match="Did you mean 'customer'"):
        pipeline().prepare(charge.using(unique=("costumer",)).call("ada"))


def test_a_name_that_a_call_of_a_task_unknown_here_does_not_give_is_refused() -> None:
    # Left out it would be one key for all calls of the task, and all but one would be dropped.
    with pytest.raises(InvalidOption, match="Did you mean 'customer_id'"):
        key({"customer_id": "a"}, ("custmer_id",))


def test_a_parameter_that_keeps_its_default_takes_no_part_in_the_key() -> None:
    assert pipeline().prepare(charge.using(unique=("amount",)).call("ada")).unique is not None


# ── middleware ───────────────────────────────────────────────────────────────


class Change(Middleware):
    def __init__(self, **changes: Any) -> None:
        self.changes = changes

    def on_enqueue(self, envelope: Envelope) -> Envelope:
        return replace(envelope, **self.changes)


def test_middleware_changes_what_is_signed_and_routed_in_its_order() -> None:
    signer = HmacSigner()
    made = pipeline(
        signer=signer, middleware=[Change(queue="one", headers={"a": "1"}), Change(queue="two")]
    )
    message = made.prepare(by_name())
    assert message.queue == "two"
    envelope = made.open_message(message)
    assert (envelope.queue, envelope.headers) == ("two", {"a": "1"})


def test_options_that_middleware_gives_count_like_those_of_the_call() -> None:
    made = pipeline(middleware=[Change(options={"visibility_timeout_ms": 90_000})])
    assert made.prepare(by_name()).lease_ms == 90_000


FAST: dict[str, Any] = {
    "queue": "fast",
    "priority": 9,
    "expires_ms": 1_000,
    "visibility_timeout_ms": 5_000,
}


def test_where_a_message_goes_follows_the_options_that_middleware_gives() -> None:
    made = pipeline(middleware=[Change(options=FAST)])
    message = made.prepare(by_name())
    assert (message.queue, message.priority, message.lease_ms) == ("fast", 9, 5_000)
    assert message.expires_at_ms == NOON_MS + 1_000
    assert made.open_message(message).options == FAST


def test_a_field_that_middleware_sets_itself_wins_over_its_options() -> None:
    made = pipeline(middleware=[Change(options=FAST, queue="mine", expires_at_ms=7)])
    message = made.prepare(by_name())
    assert (message.queue, message.priority, message.expires_at_ms) == ("mine", 9, 7)


def test_options_that_middleware_writes_in_place_hold_for_that_call_alone() -> None:
    class Once(Middleware):
        def on_enqueue(self, envelope: Envelope) -> Envelope:
            if envelope.args:
                envelope.options["queue"] = "fast"
            return envelope

    made = pipeline(middleware=[Once()])
    queues = [made.prepare(by_name("a.b", args)).queue for args in ({"x": 1}, {})]
    assert queues == ["fast", "default"]


def test_an_error_of_ours_that_middleware_raises_reaches_the_caller_as_it_is() -> None:
    class Guard(Middleware):
        def on_enqueue(self, envelope: Envelope) -> Envelope:
            raise InvalidOption("not on a Sunday")

    with pytest.raises(InvalidOption, match="not on a Sunday"):
        pipeline(middleware=[Guard()]).prepare(by_name())


@pytest.mark.parametrize(
    ("changes", "says"),
    [({"options": {"max_retrys": 1}}, "max_retrys"), ({"options": {"ack_early": 1}}, "ack_early")],
)
def test_options_that_cannot_be_are_refused_from_middleware_too(changes: Any, says: str) -> None:
    with pytest.raises(InvalidOption, match=says):
        pipeline(middleware=[Change(**changes)]).prepare(by_name())


def test_middleware_that_returns_nothing_is_named() -> None:
    class Forgetful(Middleware):
        def on_enqueue(self, envelope: Envelope) -> Envelope:
            return None  # type: ignore[return-value]

    with pytest.raises(InvalidOption, match="Forgetful"):
        pipeline(middleware=[Forgetful()]).prepare(by_name())


def test_middleware_that_raises_refuses_the_call() -> None:
    class Guard(Middleware):
        def on_enqueue(self, envelope: Envelope) -> Envelope:
            raise PermissionError("not you")

    with pytest.raises(PermissionError):
        pipeline(middleware=[Guard()]).prepare(by_name())


# ── a message becomes an envelope ────────────────────────────────────────────


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.none()), st.integers(0, 9))
def test_what_is_sent_is_what_is_opened(args: dict[str, Any], priority: int) -> None:
    made = pipeline(signer=HmacSigner())
    message = made.prepare(by_name("a.b", args, TaskOptions(priority=priority)))
    envelope = made.open_message(message)
    assert (envelope.args, envelope.priority) == (args, priority)


@pytest.mark.parametrize(
    "change",
    [
        {"id": "other"},
        {"task": "other"},
        {"queue": "other"},
        {"priority": 9},
        {"expires_at_ms": 5},
        {"not_before_ms": 5},
        {"lease_ms": 5_000},
    ],
    ids=lambda change: next(iter(change)),
)
@pytest.mark.parametrize(
    ("signer", "error"),
    [(None, MalformedEnvelope), (HmacSigner(), SignatureInvalid)],
    ids=["unsigned", "signed"],
)
def test_a_message_that_was_moved_is_refused_naming_what_differs(
    change: dict[str, Any], signer: HmacSigner | None, error: type[Exception]
) -> None:
    made = pipeline(signer=signer)
    message = made.prepare(by_name(options=TaskOptions(visibility_timeout="1m")))
    assert made.open_message(message).id == message.id
    with pytest.raises(error, match=next(iter(change))):
        made.open_message(replace(message, **change))


def test_a_message_of_another_namespace_is_refused() -> None:
    message = pipeline(config=StemConfig(namespace="other")).prepare(by_name())
    with pytest.raises(MalformedEnvelope, match="namespace"):
        pipeline().open_message(message)


def test_a_lease_that_nobody_asked_for_is_the_fleets_own_business() -> None:
    made = pipeline(signer=HmacSigner())
    message = replace(made.prepare(by_name()), lease_ms=5_000)
    assert made.open_message(message).id == message.id


def test_with_keys_an_unsigned_message_is_refused_before_it_is_parsed() -> None:
    message = replace(pipeline().prepare(by_name()), body=b"not json")
    with pytest.raises(SignatureMissing):
        pipeline(signer=HmacSigner()).open_message(message)


def test_a_changed_body_is_refused_before_it_is_parsed() -> None:
    made = pipeline(signer=HmacSigner())
    message = made.prepare(by_name())
    with pytest.raises(SignatureInvalid):
        made.open_message(replace(message, body=message.body[:-1]))


def test_a_worker_without_keys_reads_signed_messages() -> None:
    message = pipeline(signer=HmacSigner()).prepare(by_name())
    assert pipeline().open_message(message).id == message.id


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", MalformedEnvelope),
        (b"\xff", MalformedEnvelope),
        (b"[]", MalformedEnvelope),
        (b'{"version":99}', UnsupportedVersion),
    ],
)
def test_bytes_that_are_no_envelope_are_refused(body: bytes, error: type[Exception]) -> None:
    message = replace(pipeline().prepare(by_name()), body=body)
    with pytest.raises(error):
        pipeline().open_message(message)


def test_a_task_with_a_context_is_called_like_any_other() -> None:
    message = pipeline().prepare(export.call(2025))
    assert decode(message.body).args == {"year": 2025}

"""A frame writes what the codec writes, and refuses what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stem_core.model.codec import MAX_BODY, encode
from stem_core.model.envelope import Envelope
from stem_core.model.errors import EnqueueError, InvalidName, NotEncodable, PayloadTooLarge
from stem_core.model.frame import Frame
from stem_core.model.options import TaskOptions
from stem_core.model.value import replace

ID = "0190a7c2-7c3b-7000-8000-000000000001"
NOW_MS = 1_767_225_600_000

texts = st.text(max_size=5)
args_of_calls = st.dictionaries(
    texts,
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | texts,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
        max_leaves=5,
    ),
    max_size=3,
)


def shared(**changes: Any) -> Envelope:
    fields: dict[str, Any] = {
        "id": "",
        "task": "billing.charge",
        "namespace": "stem",
        "queue": "billing",
        "enqueued_at_ms": 0,
    }
    return Envelope(**{**fields, **changes})


ENVELOPES = [
    shared(),
    shared(priority=7, options=TaskOptions(max_retries=3, priority=7).given()),
    shared(task="a", options=TaskOptions(unique=("enqueued_at_ms", "args")).given()),
    shared(task="args", namespace="id", queue="enqueued_at_ms"),
]


def written(frame: Frame, args: dict[str, Any], max_bytes: int) -> bytes:
    """Return the body of a call; nothing if the codec is to say why there is none."""
    text = frame.text(args, max_bytes)
    return b"" if text is None else frame.body(ID, NOW_MS, text)


def is_accepted(args: dict[str, Any]) -> bool:
    return isinstance(outcome_of(lambda: encode(shared(id=ID, args=args))), bytes)


def outcome_of(write: Any) -> Any:
    try:
        return write()
    except EnqueueError as error:
        return type(error), error.message


@given(st.sampled_from(ENVELOPES), args_of_calls)
@example(ENVELOPES[0], {})
@example(ENVELOPES[0], {"a": 0})
@example(ENVELOPES[0], {"a": float("nan")})
@example(ENVELOPES[0], {"a": "\ud800"})
@example(ENVELOPES[0], {"a": 2**64})
@example(ENVELOPES[0], {"a": object()})
def test_a_frame_writes_and_refuses_what_the_codec_does(
    envelope: Envelope, args: dict[str, Any]
) -> None:
    whole = replace(envelope, id=ID, enqueued_at_ms=NOW_MS, args=args)
    expected = outcome_of(lambda: encode(whole))
    assert outcome_of(lambda: written(Frame(envelope), args, MAX_BODY) or encode(whole)) == expected


def test_a_body_may_have_as_many_bytes_as_are_allowed_and_not_one_more() -> None:
    body = written(Frame(shared()), {"a": "b"}, MAX_BODY)
    assert body == written(Frame(shared()), {"a": "b"}, len(body))
    assert written(Frame(shared()), {"a": "b"}, len(body) - 1) == b""


def test_a_call_without_arguments_is_held_against_the_limit_too() -> None:
    body = written(Frame(shared()), {}, MAX_BODY)
    assert written(Frame(shared()), {}, len(body)) == body
    assert written(Frame(shared()), {}, len(body) - 1) == b""


def test_arguments_that_are_too_long_by_themselves_are_refused_unwritten() -> None:
    with pytest.raises(PayloadTooLarge):
        Frame(shared()).text({"a": "b" * 100}, 100)


@given(st.lists(args_of_calls.filter(is_accepted), max_size=4), st.integers(0, 2**40))
def test_one_frame_writes_calls_of_different_instants(calls: list[Any], now_ms: int) -> None:
    frame = Frame(ENVELOPES[1])
    for at_ms, args in enumerate(calls, now_ms):
        text = frame.text(args, MAX_BODY)
        assert text is not None
        whole = replace(ENVELOPES[1], id=ID, enqueued_at_ms=at_ms, args=args)
        assert frame.body(ID, at_ms, text) == encode(whole)


def test_what_all_calls_share_is_checked_when_the_frame_is_made() -> None:
    with pytest.raises(InvalidName, match="queue"):
        Frame(shared(queue="no name"))
    with pytest.raises(NotEncodable, match="options"):
        Frame(shared(options={"retry": object()}))

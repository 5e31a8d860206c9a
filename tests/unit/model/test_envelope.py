"""The envelope: which names, headers and numbers every store can keep."""

from __future__ import annotations

from typing import Any

import pytest

from stem_core.model.envelope import MAX_INSTANT_MS, RESERVED, Envelope, check_envelope
from stem_core.model.errors import EnqueueError, InvalidName, InvalidOption, NotEncodable


def envelope(**changes: Any) -> Envelope:
    fields: dict[str, Any] = {
        "id": "id-1",
        "task": "billing.charge",
        "namespace": "stem",
        "queue": "billing",
        "enqueued_at_ms": 1_767_225_600_000,
    }
    return Envelope(**{**fields, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"enqueued_at_ms": 0, "expires_at_ms": MAX_INSTANT_MS, "not_before_ms": 0},
        {"delay_ms": 5, "priority": 9},
        {"headers": {"traceparent": "00-0af7-01", "X_y.z:1": "any\x00 text ✓"}},
        {"parent": "p", "root": "r"},
        dict.fromkeys(RESERVED, "x"),
    ],
)
def test_a_sound_envelope_passes(changes: dict[str, Any]) -> None:
    check_envelope(envelope(**changes))


def test_an_envelope_cannot_be_changed() -> None:
    with pytest.raises(AttributeError, match="immutable"):
        envelope().queue = "other"  # type: ignore[misc]


@pytest.mark.parametrize("field", ["id", "task", "namespace", "queue", "parent", "root"])
@pytest.mark.parametrize("value", ["", "a b", "a\n", "..", "a..b", "{x}", "a/b", "é", "x" * 129])
def test_a_hostile_name_is_refused(field: str, value: str) -> None:
    with pytest.raises(InvalidName):
        check_envelope(envelope(**{field: value}))


@pytest.mark.parametrize("field", ["id", "task", "namespace", "queue", "parent", "root"])
@pytest.mark.parametrize("value", [5, b"a", ["a"], {}], ids=repr)
def test_a_name_that_is_no_text_is_refused(field: str, value: Any) -> None:
    with pytest.raises(InvalidName, match=r"is text, got"):
        check_envelope(envelope(**{field: value}))


def test_many_good_names_are_no_excuse_for_a_bad_one() -> None:
    for number in range(3000):
        check_envelope(envelope(queue=f"queue-{number}"))
    with pytest.raises(InvalidName):
        check_envelope(envelope(queue="queue 1"))


@pytest.mark.parametrize(
    ("changes", "kind", "said"),
    [
        ({"headers": {"": "x"}}, InvalidName, "no usable name"),
        ({"headers": {"a b": "x"}}, InvalidName, "no usable name"),
        ({"headers": {"a\r\nb": "x"}}, InvalidName, "'a\\r\\nb'"),
        ({"headers": {"a" * 129: "x"}}, InvalidName, "no usable name"),
        ({"headers": {1: "x"}}, InvalidName, "no usable name"),
        ({"headers": {"a": 1}}, NotEncodable, "headers.a: a header is text, got int"),
        ({"headers": [("a", "b")]}, NotEncodable, "a dict is needed, got list"),
        ({"priority": 10}, InvalidOption, "priority=10"),
        ({"priority": True}, InvalidOption, "priority=True"),
        ({"version": 2}, InvalidOption, "version=2"),
        ({"version": True}, InvalidOption, "version=True"),
        ({"enqueued_at_ms": -1}, InvalidOption, "enqueued_at_ms=-1"),
        ({"enqueued_at_ms": 1.0}, InvalidOption, "enqueued_at_ms=1.0"),
        ({"enqueued_at_ms": MAX_INSTANT_MS + 1}, InvalidOption, "enqueued_at_ms"),
        ({"not_before_ms": True}, InvalidOption, "not_before_ms=True"),
        ({"delay_ms": "5"}, InvalidOption, "delay_ms='5'"),
        ({"expires_at_ms": 10**18}, InvalidOption, "expires_at_ms=1000"),
        ({"not_before_ms": 1, "delay_ms": 1}, InvalidOption, "delay together with not_before"),
        *[({name: 1}, NotEncodable, f"{name}: a text is needed, got int") for name in RESERVED],
    ],
)
def test_what_no_store_can_keep_is_refused(
    changes: dict[str, Any], kind: type[EnqueueError], said: str
) -> None:
    with pytest.raises(kind) as refusal:
        check_envelope(envelope(**changes))
    assert said in str(refusal.value)


def test_an_enormous_number_is_refused_without_being_printed() -> None:
    with pytest.raises(InvalidOption, match="an enormous number"):
        check_envelope(envelope(expires_at_ms=10**5000))

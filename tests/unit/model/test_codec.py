"""The codec: what one side writes the other reads back equal, and strangers' bytes do no harm."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from enum import IntEnum, StrEnum
from itertools import dropwhile, takewhile
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stem_core.model.codec import (
    MAX_BODY,
    MAX_DEPTH,
    check_json,
    decode,
    decode_record,
    decode_value,
    encode,
    encode_record,
    encode_value,
    options_of,
)
from stem_core.model.envelope import RESERVED, Envelope
from stem_core.model.errors import (
    DecodeError,
    EnqueueError,
    InvalidName,
    InvalidOption,
    MalformedEnvelope,
    NotEncodable,
    PayloadTooLarge,
    ResultCorrupt,
    UnsupportedVersion,
)
from stem_core.model.options import UNSET, TaskOptions
from stem_core.model.outcome import Record, State, TaskError
from stem_core.model.retry import RetryPolicy
from stem_core.model.value import replace

GOLDEN = Path(__file__).parents[2] / "golden"


def envelope(**changes: Any) -> Envelope:
    fields: dict[str, Any] = {
        "id": "0190a7c2-7c3b-7000-8000-000000000001",
        "task": "billing.charge",
        "namespace": "stem",
        "queue": "billing",
        "enqueued_at_ms": 1_767_225_600_000,
    }
    return Envelope(**{**fields, **changes})


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels - 1):
        value = [value]
    return value


def exactly(value: object) -> str:
    """Tell apart what Python calls equal: True, 1 and 1.0, or 0.0 and -0.0."""
    return repr(value)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | texts | st.integers(-(10**60), 10**60),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)  # fmt: skip
json_objects = st.dictionaries(texts, json_values, max_size=4)
names = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,20}", fullmatch=True)
instants = st.integers(0, 253_402_300_799_999)
options = st.builds(
    TaskOptions,
    max_retries=st.integers(0, 9),
    hard_time_limit=st.none() | st.integers(1, 99),
    unique=st.booleans() | st.just(("a",)),
).map(TaskOptions.given)
envelopes = st.builds(
    Envelope,
    id=names,
    task=names,
    namespace=names,
    queue=names,
    enqueued_at_ms=instants,
    args=json_objects,
    headers=st.dictionaries(st.text("ab-", min_size=1), texts, max_size=2),
    meta=json_objects,
    not_before_ms=st.none() | instants,
    expires_at_ms=st.none() | instants,
    priority=st.integers(0, 9),
    options=st.just({}) | options,
    parent=st.none() | names,
    root=st.none() | names,
    continuations=st.lists(json_objects, max_size=2).map(tuple),
    issuer=st.none() | texts,
    reference=st.none() | texts,
)

# ── there and back ───────────────────────────────────────────────────────────


@given(envelopes)
def test_an_envelope_comes_back_exactly(sent: Envelope) -> None:
    body = encode(sent)
    received = decode(body)
    assert received == sent
    for part in ("args", "meta", "options", "continuations"):
        assert exactly(getattr(received, part)) == exactly(getattr(sent, part))
    assert encode(received) == body


@given(json_values)
def test_a_result_comes_back_exactly(value: Any) -> None:
    assert exactly(decode_value(encode_value(value))) == exactly(value)


def test_a_reserved_text_comes_back_though_nobody_gives_it_a_meaning_yet() -> None:
    received = decode(encode(envelope(issuer="me")))
    assert received == envelope(issuer="me") != envelope()
    assert replace(received, issuer=None) == envelope()


def test_the_version_is_written_and_never_taken_for_granted() -> None:
    assert encode(envelope()).startswith(b'{"version":1,')
    with pytest.raises(MalformedEnvelope, match="missing required field `version`"):
        decode(encode(envelope()).replace(b'"version":1,', b""))


def test_a_class_of_its_own_is_no_envelope() -> None:
    class Wider(Envelope, frozen=True, gc=False, kw_only=True):
        color: str = "red"

    with pytest.raises(NotEncodable, match="an Envelope is needed, got Wider"):
        encode(Wider(id="a", task="t", namespace="stem", queue="q", enqueued_at_ms=0))


def test_the_body_holds_only_what_was_asked_in_a_fixed_order() -> None:
    assert encode(envelope(args={"a": 1}, priority=0, delay_ms=5)) == (
        b'{"version":1,"id":"0190a7c2-7c3b-7000-8000-000000000001","task":"billing.charge",'
        b'"namespace":"stem","queue":"billing","enqueued_at_ms":1767225600000,"args":{"a":1},'
        b'"delay_ms":5}'
    )


def test_the_options_of_an_envelope_are_those_that_were_given() -> None:
    given_options = TaskOptions(max_retries=0, visibility_timeout="5m", unique=("a",))
    received = decode(encode(envelope(options=given_options.given())))
    assert options_of(received) == given_options


def test_options_too_large_to_remember_are_read_all_the_same() -> None:
    given_options = TaskOptions(unique=tuple(f"argument_{n}" for n in range(200)))
    assert options_of(decode(encode(envelope(options=given_options.given())))) == given_options


# ── golden files: bodies of released versions, byte for byte ─────────────────

ENVELOPES = {
    "minimal": Envelope(
        id="a", task="t", namespace="stem", queue="default", enqueued_at_ms=0
    ),
    "full": envelope(
        args={
            "customer_id": "cust_123", "amount": 4200, "ratio": 0.1, "big": 1e22, "ok": True,
            "nothing": None, "lines": [{"sku": "A-1", "n": 2}, []], "empty": {},
        },
        headers={"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
        meta={"requested_by": "finance"},
        not_before_ms=1_767_229_200_000,
        expires_at_ms=1_767_312_000_000,
        priority=9,
        options={
            "queue": "billing",
            "max_retries": 0,
            "retry_policy": {
                "base_ms": 1000, "cap_ms": 300_000, "multiplier": 2.0, "jitter": True,
                "retry_on": ["builtins.OSError"], "never_retry_on": [],
            },
            "priority": 9,
            "isolation": "process",
            "visibility_timeout_ms": 90_000,
            "soft_time_limit_ms": 25_000,
            "hard_time_limit_ms": None,
            "expires_at_ms": 1_767_312_000_000,
            "unique": {"by": ["customer_id"], "until": "window", "window_ms": 60_000},
            "rate_limit": "10/s",
            "ack_early": False,
            "ignore_result": True,
        },
        parent="0190a7c2-7c3b-7000-8000-0000000000aa",
        root="0190a7c2-7c3b-7000-8000-0000000000bb",
        **{name: f"the {name}" for name in RESERVED},
    ),
    "unicode": envelope(
        args={
            "text": "Zürich 東京 \U0001f680 \u2028 \x00\x1f\x7f \" \\ / \r\n\t",
            "naïve key \x00": "",
            "ints": [2**53 + 1, -(2**63) - 1, 2**64, 10**40],
            "floats": [-0.0, 5e-324, 1.7976931348623157e308, 1e-7, 123456789.125],
        },
        headers={"x-name": "Å"},
    ),
    "continuations": envelope(
        delay_ms=300_000,
        continuations=(
            {"id": "b", "queue": "billing", "body": '{"version":1}', "signature": "c2ln"},
            {"id": "c", "queue": "reports", "inputs": {"total": "b"}},
        ),
    ),
}  # fmt: skip


def golden_body(name: str) -> bytes:
    return (GOLDEN / f"envelope-v1-{name}.json").read_bytes()


def test_there_is_one_golden_file_for_each_known_envelope() -> None:
    files = {path.name for path in GOLDEN.glob("envelope-v1-*.json")}
    assert files == {f"envelope-v1-{name}.json" for name in ENVELOPES}


@pytest.mark.parametrize("name", ENVELOPES)
def test_a_golden_body_decodes_to_the_known_envelope(name: str) -> None:
    received = decode(golden_body(name))
    assert received == ENVELOPES[name]
    assert exactly(received) == exactly(ENVELOPES[name])


@pytest.mark.parametrize("name", ENVELOPES)
def test_a_known_envelope_encodes_to_the_golden_body(name: str) -> None:
    assert encode(ENVELOPES[name]) == golden_body(name)


@pytest.mark.parametrize("name", ENVELOPES)
def test_another_spelling_of_the_same_json_is_the_same_envelope(name: str) -> None:
    body = json.dumps(json.loads(golden_body(name)), indent=2, sort_keys=True).encode()
    assert exactly(decode(body).task) == exactly(ENVELOPES[name].task)
    assert decode(body) == ENVELOPES[name]


# ── what JSON cannot carry ───────────────────────────────────────────────────


class Color(StrEnum):
    RED = "red"


class Level(IntEnum):
    LOW = 1


LOOP: list[Any] = []
LOOP.append(LOOP)

REFUSED = [
    pytest.param({"a": {"tags": [0, {3}]}}, "{}.a.tags[1]: JSON cannot carry a value of type set"),
    pytest.param(math.nan, "{}: JSON cannot carry the float nan"),
    pytest.param([-math.inf], "{}[0]: JSON cannot carry the float -inf"),
    pytest.param(b"x", "{}: JSON cannot carry a value of type bytes"),
    pytest.param((1, 2), "{}: JSON cannot carry a value of type tuple\n  Make it a list."),
    pytest.param({1: 2}, "{}: the key 1 is of type int"),
    pytest.param({"a": {None: 2}}, "{}.a: the key None is of type NoneType"),
    pytest.param(
        datetime(2030, 1, 1, tzinfo=UTC), "{}: JSON cannot carry a value of type datetime"
    ),
    pytest.param(Decimal(1), "{}: JSON cannot carry a value of type Decimal"),
    pytest.param(UUID(int=1), "{}: JSON cannot carry a value of type UUID"),
    pytest.param(Color.RED, "{}: JSON cannot carry a value of type Color"),
    pytest.param(Level.LOW, "{}: JSON cannot carry a value of type Level"),
    pytest.param({Color.RED: 1}, "is of type Color"),
    pytest.param(object(), "{}: JSON cannot carry a value of type object"),
    pytest.param("\ud800", "{}: 'utf-8' codec can't encode character '\\ud800'"),
    pytest.param({"a": ["ok", "x\udfff"]}, "{}.a[1]: 'utf-8' codec can't encode"),
    pytest.param({"\ud800": 1}, "{}.\\ud800: 'utf-8' codec can't encode"),
    pytest.param([10**5000], "{}[0]: Exceeds the limit (4300 digits)", id="digits"),
    pytest.param(nested(100_000), "nested deeper than 64 levels", id="deep"),
    pytest.param(LOOP, "nested deeper than 64 levels", id="loop"),
]


@pytest.mark.parametrize(("value", "said"), REFUSED)
def test_what_json_cannot_carry_is_refused_with_its_path(value: Any, said: str) -> None:
    for place, attempt in {
        "args.v": lambda: encode(envelope(args={"v": value})),
        "meta.v": lambda: encode(envelope(meta={"v": value})),
        "continuations[0].v": lambda: encode(envelope(continuations=({"v": value},))),
        "result": lambda: encode_value(value),
    }.items():
        with pytest.raises(NotEncodable) as refusal:
            attempt()
        assert said.format(place) in str(refusal.value)


hostile = st.one_of(
    json_values, st.floats(), st.text(), st.binary(max_size=2), st.just(()), st.just({1: 1}),
    st.sampled_from([Color.RED, Level.LOW]), st.dictionaries(st.integers(), st.none()),
)  # fmt: skip


@given(st.dictionaries(texts | st.just(Color.RED), hostile, max_size=3))
def test_what_encode_accepts_comes_back_exactly_and_all_else_is_refused(
    args: dict[str, Any],
) -> None:
    try:
        body = encode(envelope(args=args))
    except NotEncodable:
        assert not is_strict(args)
        return
    assert is_strict(args)
    assert exactly(decode(body).args) == exactly(args)


def is_strict(value: object) -> bool:
    """Say the same rule in another way: exact types, finite, no lone surrogates."""
    if type(value) is dict:
        return all(type(key) is str and is_strict(key) for key in value) and all(
            map(is_strict, value.values())
        )
    if type(value) is list:
        return all(map(is_strict, value))
    if type(value) is str:
        return not any("\ud800" <= character <= "\udfff" for character in value)
    return type(value) in (bool, int, type(None)) or (type(value) is float and math.isfinite(value))


class Name(str):
    """A text that is more than a text: msgspec does not write it."""


@pytest.mark.parametrize(
    ("changes", "kind", "said"),
    [
        ({"args": [1]}, NotEncodable, "args: an object (dict) is needed, got list"),
        ({"meta": "x"}, NotEncodable, "meta: an object"),
        ({"options": [1]}, NotEncodable, "options: an object"),
        ({"options": {"max_retrys": 1}}, InvalidOption, "'max_retrys' is not known"),
        ({"options": {"max_retries": True}}, InvalidOption, "max_retries=True"),
        ({"options": {"hard_time_limit_ms": math.nan}}, NotEncodable, "options.hard_time_limit_ms"),
        ({"continuations": [{}]}, NotEncodable, "continuations: a tuple is needed"),
        ({"continuations": []}, NotEncodable, "continuations: a tuple is needed"),
        ({"headers": None}, NotEncodable, "headers: a dict is needed, got NoneType"),
        ({"headers": []}, NotEncodable, "headers: a dict is needed, got list"),
        ({"meta": None}, NotEncodable, "meta: an object (dict) is needed, got NoneType"),
        ({"options": ()}, NotEncodable, "options: an object (dict) is needed, got tuple"),
        ({"issuer": 5}, NotEncodable, "issuer: a text is needed, got int"),
        ({"issuer": Name("me")}, NotEncodable, "issuer: a text is needed, got Name"),
        ({"id": Name("a")}, NotEncodable, "id: Encoding objects of type Name"),
        ({"headers": {"a": "b"}, "root": Name("a")}, NotEncodable, "root: Encoding objects"),
        ({"continuations": ("x",)}, NotEncodable, "continuations[0]: an object"),
        ({"headers": {"a": "\ud800"}}, NotEncodable, "headers.a: 'utf-8' codec"),
        ({"queue": "a b"}, InvalidName, "queue 'a b'"),
        ({"priority": True}, InvalidOption, "priority=True"),
    ],
)
def test_what_decode_would_refuse_is_never_written(
    changes: dict[str, Any], kind: type[EnqueueError], said: str
) -> None:
    with pytest.raises(kind) as refusal:
        encode(envelope(**changes))
    assert said in str(refusal.value)


# ── limits ───────────────────────────────────────────────────────────────────


@given(envelopes)
def test_the_size_limit_is_exact(sent: Envelope) -> None:
    body = encode(sent)
    assert encode(sent, max_bytes=len(body)) == body
    assert decode(body, max_bytes=len(body)) == sent
    with pytest.raises(PayloadTooLarge, match=f"the limit is {len(body) - 1}"):
        encode(sent, max_bytes=len(body) - 1)
    with pytest.raises(MalformedEnvelope, match=f"the limit is {len(body) - 1}"):
        decode(body, max_bytes=len(body) - 1)


@given(json_values)
@example([0, 0, 0])
@example([[], []])
@example({"": 0})
@example(["", ""])
def test_the_walk_never_refuses_what_fits(value: Any) -> None:
    data = encode_value(value)
    check_json(value, "v", max_bytes=len(data))
    with pytest.raises(PayloadTooLarge):
        encode_value(value, max_bytes=len(data) - 1)


@pytest.mark.parametrize(
    "value",
    ["x" * MAX_BODY, ["x" * 1000] * 2000, {"k" * MAX_BODY: 1}, [0] * MAX_BODY],
    ids=["text", "texts", "key", "numbers"],
)
def test_what_cannot_fit_is_refused_before_it_is_encoded(value: Any) -> None:
    with pytest.raises(PayloadTooLarge, match="at least"):
        check_json([value], "v")
    with pytest.raises(PayloadTooLarge, match="at least"):
        encode(envelope(args={"v": value}))


def test_a_few_lists_that_mean_a_billion_values_are_refused() -> None:
    bomb: list[Any] = [1] * 10
    for _ in range(40):
        bomb = [bomb] * 10
    with pytest.raises(PayloadTooLarge):
        encode_value(bomb)


@pytest.mark.parametrize("levels", [MAX_DEPTH - 2, MAX_DEPTH - 1])
def test_both_sides_draw_the_line_at_the_same_depth(levels: int) -> None:
    # The body and its args stand around the value: two levels.
    body = encode(envelope(args={"v": 1})).replace(
        b'"v":1', b'"v":' + b"[" * levels + b"]" * levels
    )
    if levels + 2 <= MAX_DEPTH:
        assert decode(body) == envelope(args={"v": nested(levels)})
        assert encode(decode(body)) == body
    else:
        with pytest.raises(MalformedEnvelope, match="nested deeper than 64"):
            decode(body)
        with pytest.raises(NotEncodable, match="nested deeper than 64"):
            encode(envelope(args={"v": nested(levels)}))


def test_brackets_inside_texts_and_beside_each_other_are_no_depth() -> None:
    sent = envelope(args={"text": '[{"' * 500 + "\\", "wide": [[], {}] * 500, "end": '\\"['})
    assert decode(encode(sent)) == sent


# ── strangers' bytes ─────────────────────────────────────────────────────────

SOUND = encode(envelope(args={"a": 1, "b": [{"c": "d"}]}, options={"max_retries": 3}))


def changed(old: bytes, new: bytes) -> bytes:
    assert old in SOUND
    return SOUND.replace(old, new)


MALFORMED = [
    (b"", "truncated"),
    (b"null", "Expected `object`"),
    (b"{}", "version"),
    (b'{"version":1}', "missing required field `id`"),
    (SOUND[:-1], "truncated"),
    (SOUND + b"x", "trailing"),
    (b"\xef\xbb\xbf" + SOUND, "malformed"),
    (SOUND.decode().encode("utf-16"), "invalid"),
    (changed(b'"version":1', b'"version":0'), "no wire version 0"),
    (changed(b'"version":1', b'"version":-1'), "no wire version -1"),
    (changed(b'"version":1', b'"version":true'), "got `bool`"),
    (changed(b'"version":1', b'"version":1.0'), "got `float`"),
    (changed(b'"task"', b'"tusk"'), "unknown field `tusk`"),
    (changed(b'"args"', b'"attempt":1,"args"'), "unknown field `attempt`"),
    (changed(b'"args"', b'"reserved":{},"args"'), "unknown field `reserved`"),
    (changed(b'"args"', b'"priority":10,"args"'), "priority=10"),
    (changed(b'"args"', b'"priority":"9","args"'), "got `str`"),
    (changed(b'"args"', b'"headers":{"a":1},"args"'), "$.headers"),
    (changed(b'"args"', b'"headers":{"a b":"c"},"args"'), "no usable name"),
    (changed(b'"args"', b'"parent":"","args"'), "id is empty"),
    (changed(b'"args"', b'"issuer":5,"args"'), "$.issuer"),
    (changed(b'"args"', b'"delay_ms":1,"not_before_ms":1,"args"'), "delay together"),
    (changed(b'"args"', b'"expires_at_ms":1e400,"args"'), "out of range"),
    (changed(b'"billing"', b'"bil ling"'), "queue 'bil ling'"),
    (changed(b'"billing"', b'"bil\\u0000ling"'), "'\\x00'"),
    (changed(b"1767225600000", b"999999999999999"), "enqueued_at_ms"),
    (changed(b'"a":1', b'"a":NaN'), "invalid character"),
    (changed(b'"a":1', b'"a":Infinity'), "invalid character"),
    (changed(b'"a":1', b'"a":1e999'), "out of range"),
    (changed(b'"a":1', b'"a":01'), "invalid number"),
    (changed(b'"a":1', b'"a":' + b"9" * 5000), "out of range"),
    (changed(b'"a":1', b'"a":"\\ud800"'), "not an envelope"),
    (changed(b'"a":1', b'"a":"\xed\xa0\x80"'), "utf-8"),
    (changed(b'"a":1', b'"a":"\xff"'), "utf-8"),
    (changed(b'"a":1', b'"a":"\n"'), "invalid character"),
    (changed(b'"a":1', b'"a":1,"a":1'), "'a' occurs twice"),
    (changed(b'"a":1', b'"a":1,"\\u0061":2'), "'a' occurs twice"),
    (changed(b'"c":"d"', b'"c":"d","c":"d"'), "'c' occurs twice"),
    (changed(b'"args"', b'"id":"x","args"'), "'id' occurs twice"),
    (changed(b'"max_retries":3', b'"max_retries":3,"max_retries":3'), "'max_retries' occurs twice"),
    (changed(b'"max_retries":3', b'"max_retries":-3'), "max_retries=-3"),
    (changed(b'"max_retries":3', b'"color":3'), "'color' is not known"),
    (b"[" * 1_000_000, "nested deeper"),
    (b"[" * 500_000 + b"]" * 500_000, "nested deeper"),
    (b'"' + b'\\"' * 500_000 + b"\\" + b"{" * 100, "invalid escape"),
    (b"{" * 100 + b'"' + b'\\"' * 500_000 + b"\\", "nested deeper"),
]


@pytest.mark.parametrize(("body", "said"), MALFORMED, ids=[said for _, said in MALFORMED])
def test_malformed_bytes_are_refused_with_the_one_error(body: bytes, said: str) -> None:
    with pytest.raises(MalformedEnvelope) as refusal:
        decode(body)
    assert said in str(refusal.value)


@pytest.mark.parametrize(
    "body",
    [
        b'{"version":2}',
        b'{"version":2,"everything":["else","is",{"new":true}]}',
        changed(b'"version":1', b'"version":2'),
        changed(b'"version":1', b'"version":' + b"9" * 4000),
    ],
    ids=["bare", "foreign", "alike", "enormous"],
)
def test_a_newer_version_is_told_apart_from_garbage(body: bytes) -> None:
    with pytest.raises(UnsupportedVersion, match="this release reads up to 1"):
        decode(body)


@given(st.binary(max_size=200))
@settings(max_examples=2000)
@example(b"9" * 5000)
@example(b'{"version":1e999}')
def test_random_bytes_raise_nothing_but_decode_errors(body: bytes) -> None:
    with pytest.raises((MalformedEnvelope, UnsupportedVersion)):
        decode(body)


json_noise = st.text('{}[]":,0123456789.eE+-\\untrfalse /\x00é', max_size=12).map(str.encode)


@given(
    st.sampled_from([SOUND, *map(encode, ENVELOPES.values())]),
    st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 12), json_noise), max_size=3),
)
@settings(max_examples=2000)
def test_a_damaged_body_is_refused_or_decodes_to_something_sound(
    body: bytes, cuts: list[tuple[int, int, bytes]]
) -> None:
    for start, length, noise in cuts:
        start %= len(body) + 1
        body = body[:start] + noise + body[start + length :]
    try:
        received = decode(body)
    except (MalformedEnvelope, UnsupportedVersion):
        return
    assert decode(encode(received)) == received


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "\u00e9"]), st.booleans()), max_size=4))
def test_equal_keys_are_found_however_they_are_spelled(keys: list[tuple[str, bool]]) -> None:
    spelled = ",".join(f"{json.dumps(key, ensure_ascii=escape)}:1" for key, escape in keys)
    body = changed(b'{"c":"d"}', f"{{{spelled}}}".encode())
    if len({key for key, _ in keys}) == len(keys):
        assert decode(body).args["b"] == [{key: 1 for key, _ in keys}]
    else:
        with pytest.raises(MalformedEnvelope, match="occurs twice"):
            decode(body)


# ── results and records ──────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"NaN", b'{"a":1,"a":2}', b"1 2", b'"\xff"', b"[" * 100_000, nested(65)],
    ids=["empty", "cut", "nan", "twice", "two", "utf-8", "open", "deep"],
)
def test_corrupt_results_are_refused_with_the_one_error(data: Any) -> None:
    with pytest.raises(ResultCorrupt):
        decode_value(data if isinstance(data, bytes) else json.dumps(data).encode())


@given(st.binary(max_size=100) | json_noise)
@settings(max_examples=2000)
def test_random_results_and_records_raise_nothing_else(data: bytes) -> None:
    with pytest.raises(ResultCorrupt):
        decode_record(data)
    try:
        value = decode_value(data)
    except ResultCorrupt:
        return
    assert exactly(decode_value(encode_value(value))) == exactly(value)


errors = st.builds(
    TaskError, type=texts, message=texts, traceback=texts, attempt=st.integers(0, 9),
    at_ms=instants,
)  # fmt: skip
records = st.builds(
    Record,
    id=names,
    state=st.sampled_from(State),
    fence=st.integers(0, 2**62),
    attempt=st.integers(0, 99),
    task=texts,
    queue=texts,
    value=st.none() | json_values.map(encode_value),
    error=st.none() | errors,
    reason=texts,
    meta=json_objects,
    enqueued_at_ms=instants,
    started_at_ms=instants,
    finished_at_ms=instants,
    worker=texts,
    ttl_ms=st.integers(0, 2**40),
)


@given(records)
def test_a_record_comes_back_exactly(record: Record) -> None:
    received = decode_record(encode_record(record))
    assert received == record
    assert exactly(received) == exactly(record)


def test_a_record_is_one_readable_object() -> None:
    record = Record(id="a", state=State.SUCCEEDED, fence=3, value=b'{"x":[1]}', ttl_ms=5)
    assert encode_record(record) == (
        b'{"version":1,"id":"a","state":"succeeded","ttl_ms":5,"fence":3,"value":{"x":[1]}}'
    )


def test_the_value_none_is_not_the_absence_of_a_value() -> None:
    nothing = Record(id="a", state=State.SUCCEEDED, value=b"null")
    absent = Record(id="a", state=State.FAILED)
    assert decode_record(encode_record(nothing)).value == b"null"
    assert decode_record(encode_record(absent)).value is None


def test_an_error_with_a_lone_surrogate_is_stored_all_the_same() -> None:
    error = TaskError(type="OSError", message="no file x\udcff", traceback="\ud800")
    record = Record(id="a", state=State.FAILED, error=error, reason="\udc00", worker="w\udc01")
    received = decode_record(encode_record(record))
    assert received.error == TaskError(
        type="OSError", message="no file x\\udcff", traceback="\\ud800"
    )
    assert (received.reason, received.worker) == ("\\udc00", "w\\udc01")


@pytest.mark.parametrize(
    ("record", "kind"),
    [
        (Record(id="a", state=State.SUCCEEDED, value=b'1,"state":"dead"'), ResultCorrupt),
        (Record(id="a", state=State.SUCCEEDED, value=b""), ResultCorrupt),
        (Record(id="a", state=State.SUCCEEDED, meta={"x": {1}}), NotEncodable),
        (Record(id="a", state=State.SUCCEEDED, meta={"x": "\ud800"}), NotEncodable),
        (Record(id="a", state=State.SUCCEEDED, meta={"x": 10**5000}), NotEncodable),
        (Record(id="a", state=State.SUCCEEDED, meta=[]), NotEncodable),  # type: ignore[arg-type]
        (Record(id="\ud800", state=State.SUCCEEDED), NotEncodable),
        (Record(id=Name("a"), state=State.SUCCEEDED), NotEncodable),
    ],
)
def test_a_record_that_could_not_be_read_back_is_not_written(
    record: Record, kind: type[Exception]
) -> None:
    with pytest.raises(kind):
        encode_record(record)


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.replace(b'"version":1', b'"version":2'),
        lambda data: data.replace(b'"succeeded"', b'"glorious"'),
        lambda data: data.replace(b'"fence":3', b'"fence":3.0'),
        lambda data: data.replace(b'"fence":3', b'"fence":3,"fence":4'),
        lambda data: data.replace(b'"fence":3', b'"finished_at_ms":999999999999999'),
        lambda data: data.replace(b'"fence":3', b'"color":"red"'),
        lambda data: data[:-1],
    ],
)
def test_a_damaged_record_is_refused(change: Callable[[bytes], bytes]) -> None:
    data = encode_record(Record(id="a", state=State.SUCCEEDED, fence=3))
    assert change(data) != data
    with pytest.raises(ResultCorrupt):
        decode_record(change(data))


def test_every_refusal_of_bytes_belongs_to_one_family() -> None:
    for kind in (MalformedEnvelope, UnsupportedVersion, ResultCorrupt):
        assert issubclass(kind, DecodeError)


# ── the page ─────────────────────────────────────────────────────────────────

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "wire-format.md"


def rows_of_the_table(header: str) -> list[str]:
    """Return the names in the first column of the table under *header*."""
    lines = iter(PAGE.read_text(encoding="utf-8").splitlines())
    table = takewhile(
        lambda line: line.startswith("|"), dropwhile(lambda line: line != header, lines)
    )
    return [line.split("`")[1] for line in table if line.startswith("| `")]


def test_the_page_lists_every_field_of_an_envelope() -> None:
    listed = rows_of_the_table("| field | type | default | meaning |")
    assert tuple(listed) == Envelope.__struct_fields__
    assert set(RESERVED) < set(listed)


def test_the_page_lists_every_option() -> None:
    everything = TaskOptions(
        queue="q", max_retries=1, retry_policy=RetryPolicy(), priority=1, isolation="inline",
        visibility_timeout=1, soft_time_limit=1, hard_time_limit=2, expires=1, unique=True,
        rate_limit="1/s", ack_early=True, ignore_result=True,
    )  # fmt: skip
    at = TaskOptions(expires=datetime(2030, 1, 1, tzinfo=UTC))
    assert UNSET not in vars(everything).values()
    assert set(rows_of_the_table("| option | type |")) == {*everything.given(), *at.given()}

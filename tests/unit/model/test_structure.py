from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from pathlib import Path
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    NewType,
    NotRequired,
    Optional,
    Required,
    TypedDict,
    TypeVar,
    Union,
)
from uuid import UUID

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stem_core.model.duration import Milliseconds
from stem_core.model.errors import ConfigError, InvalidArguments, InvalidTask, NotEncodable
from stem_core.model.secrets import Secret
from stem_core.model.structure import (
    OptionInfo,
    describe_options,
    is_plain_json,
    options_from_query,
    plan,
    structure,
    structure_arguments,
    unstructure,
)

BRANCH = {"name": "b"}
FIVE_SECONDS = Milliseconds(5_000)
CustomerId = NewType("CustomerId", str)
T = TypeVar("T")


class Color(StrEnum):
    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    LOW = 1


class Mixed(Enum):
    ONE = 1
    YES = True
    NAME = "name"


@attrs.frozen
class Address:
    zip: int
    street: str = ""


@attrs.frozen
class Box(Generic[T]):
    item: T


@dataclasses.dataclass
class Customer:
    name: str
    address: Address
    tags: set[str] = dataclasses.field(default_factory=set)
    since: datetime | None = None
    color: Color = Color.RED
    level: Level = Level.LOW
    score: float = 0.5
    friends: list[Customer] = dataclasses.field(default_factory=list)


class Order(TypedDict):
    amount: int
    note: NotRequired[str]


class Tree(TypedDict, total=False):
    name: Required[str]
    children: list[Tree]


class Opaque(TypedDict):
    blob: bytes


@attrs.frozen
class Positive:
    number: int = attrs.field(validator=attrs.validators.gt(0))


def structured(value: Any, hint: Any) -> Any:
    return structure(value, hint, path="x")


# ── values ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("hint", "value", "expected"),
    [
        (str, "7", "7"),
        (int, 7, 7),
        (bool, True, True),
        (float, 7.5, 7.5),
        (float, 7, 7.0),
        (None, None, None),
        (Any, [{"a": None}], [{"a": None}]),
        (list, [1, "a"], [1, "a"]),
        (dict, {"a": 1}, {"a": 1}),
        (list[int], [1, 2], [1, 2]),
        (Sequence[float], [1, 2.5], [1.0, 2.5]),
        (set[str], ["a"], {"a"}),
        (set[int], [1, 2], {1, 2}),
        (frozenset[int], [1], frozenset({1})),
        (tuple[int, str], [1, "a"], (1, "a")),
        (tuple[int, ...], [1, 2], (1, 2)),
        (dict[str, int], {"a": 1}, {"a": 1}),
        (Mapping[Color, int], {"red": 1}, {Color.RED: 1}),
        (int | None, None, None),
        (Optional[int], 3, 3),  # noqa: UP045 -- both spellings are met
        (Union[int, str], "a", "a"),  # noqa: UP007
        (float | int, 1, 1),
        (float | int, 1.0, 1.0),
        (str | datetime, "noon", "noon"),
        (str | datetime, "2025-01-01T00:00:00Z", datetime(2025, 1, 1, tzinfo=UTC)),
        (Address | Order, {"amount": 1}, {"amount": 1}),
        (Address | None, {"zip": 1}, Address(1)),
        (Literal["a", 1], 1, 1),
        (Literal[Color.RED], "red", Color.RED),
        (Color, "blue", Color.BLUE),
        (Level, 1, Level.LOW),
        (Mixed, 1, Mixed.ONE),
        (Mixed, "name", Mixed.NAME),
        (CustomerId, "c1", "c1"),
        (Annotated[int, "positive"], 1, 1),
        (Annotated[int, {}], 1, 1),
        (list[Annotated[int, {}]], [1], [1]),
        (datetime, "2025-01-01T02:00:00+02:00", datetime(2025, 1, 1, tzinfo=UTC)),
        (date, "2025-01-31", date(2025, 1, 31)),
        (time, "12:30:00", time(12, 30)),
        (timedelta, 1.5, timedelta(seconds=1.5)),
        (timedelta, "1h30m", timedelta(hours=1.5)),
        (
            UUID,
            "018bcfe5-6800-7fde-aca4-b5397dba7f53",
            UUID("018bcfe5-6800-7fde-aca4-b5397dba7f53"),
        ),
        (Decimal, "1.10", Decimal("1.10")),
        (Path, "/tmp/x", Path("/tmp/x")),
        (Address, {"zip": 1}, Address(1, "")),
        (Box[int], {"item": 1}, Box(1)),
        (Order, {"amount": 1}, {"amount": 1}),
        (list[Address], [{"zip": 1}], [Address(1)]),
        (
            Tree,
            {"name": "a", "children": [{"name": "b"}]},
            {"name": "a", "children": [{"name": "b"}]},
        ),
    ],
    ids=str,
)
def test_a_json_value_becomes_its_type(hint: Any, value: Any, expected: Any) -> None:
    result = structured(value, hint)
    assert result == expected
    assert type(result) is type(expected)


@pytest.mark.parametrize(
    ("hint", "value"),
    [
        (int, "7"),
        (int, True),
        (int, 7.0),
        (int, None),
        (bool, 1),
        (bool, "true"),
        (float, "1.5"),
        (float, True),
        (float, 10**400),
        (str, 7),
        (str, None),
        (None, 0),
        (list, {}),
        (dict, []),
        (list[str], "abc"),
        (list[int], {"a": 1}),
        (set[Any], [[]]),
        (tuple[int, str], [1]),
        (tuple[int, str], [1, "a", 2]),
        (dict[int, str], {"7": "a"}),
        (int | None, "7"),
        (int | str, 1.5),
        (Literal[1], True),
        (Literal[True], 1),
        (Color, "green"),
        (Color, 1),
        (Level, True),
        (Mixed, 1.0),
        (datetime, "2025-01-01T00:00:00"),
        (datetime, "2025-01-01"),
        (datetime, 1735689600),
        (datetime, "today"),
        (date, "2025-01-31T00:00:00Z"),
        (date, "2025-02-30"),
        (timedelta, True),
        (timedelta, float("inf")),
        (timedelta, "90"),
        (UUID, "{018bcfe5-6800-7fde-aca4-b5397dba7f53}"),
        (UUID, "018bcfe568007fdeaca4b5397dba7f53"),
        (Decimal, "NaN"),
        (Decimal, "1_000"),
        (Decimal, 1.1),
        (Path, "a\0b"),
        (Address, [1]),
        (Address, None),
        (Address, {}),
        (Address, {"zip": 1, "extra": 2}),
        (Box[int], {"item": "1"}),
        (Order, {"amount": 1, "extra": 2}),
        (Order, {}),
        (Order, []),
        (Tree, {"children": []}),
        (Tree, {"name": "a", "children": [{"name": 1}]}),
        (Opaque, {"blob": "AA=="}),
        (Positive, {"number": 0}),
    ],
    ids=str,
)
def test_nothing_is_coerced(hint: Any, value: Any) -> None:
    with pytest.raises(InvalidArguments, match=r"^x"):
        structured(value, hint)


def test_every_problem_is_told_with_its_path() -> None:
    value = {
        "name": 1,
        "address": {"zip": "7", "stret": "x"},
        "friends": [{"name": "a", "address": {"zip": 1}}, {"name": "b"}],
        "tags": ["a", 2],
    }
    with pytest.raises(InvalidArguments) as caught:
        structured(value, Customer)
    assert sorted(caught.value.message.split("; ")) == [
        "x.address.zip: expected int, got str '7'",
        "x.address: has an unknown field 'stret' (did you mean 'street'?)",
        "x.friends[1].address: is missing",
        "x.name: expected str, got int 1",
        "x.tags[1]: expected str, got int 2",
    ]


def test_problems_in_objects_name_the_key() -> None:
    with pytest.raises(InvalidArguments, match=r"x\['a'\]\[1\]: expected int, got null"):
        structured({"a": [1, None]}, dict[str, list[int]])


def test_a_users_validator_is_heard() -> None:
    with pytest.raises(InvalidArguments, match="x: 'number' must be > 0: 0"):
        structured({"number": 0}, Positive)


def test_all_arguments_are_judged_before_one_error_is_raised() -> None:
    plans = {"a": plan(int), "b": plan(str), "c": plan(bool)}
    with pytest.raises(InvalidArguments) as caught:
        structure_arguments({"a": "1", "b": "fine", "c": 0}, plans)
    assert caught.value.message == "a: expected int, got str '1'; c: expected bool, got int 0"


@pytest.mark.parametrize(
    "hint",
    [bytes, object.__init__, complex, T, type("IntKind", (int,), {}), list[bytes], set[bytes]],
    ids=str,
)
def test_a_type_without_a_json_form_is_refused_before_any_value(hint: Any) -> None:
    with pytest.raises(InvalidTask, match="has no JSON form"):
        plan(hint)


def test_a_class_with_a_name_that_cannot_be_resolved_is_no_task_parameter() -> None:
    nowhere: Any = "Nowhere"
    broken = attrs.make_class("Broken", {"x": attrs.field(type=nowhere)})
    with pytest.raises(InvalidTask, match="Nowhere"):
        plan(broken)


def test_a_problem_far_down_is_found_in_one_pass() -> None:
    looked_at: list[int] = []

    @attrs.frozen
    class Counted:
        number: int = attrs.field(validator=lambda _, __, value: looked_at.append(value))

    hint: Any = tuple[list[Counted], str]
    for _ in range(12):
        hint = dict[str, list[hint]]
    value: Any = [[{"number": 1}], 0]
    for _ in range(12):
        value = {"a": [value]}
    with pytest.raises(InvalidArguments, match="expected str, got int 0"):
        structured(value, hint)
    assert len(looked_at) == 2  # once for the answer, once for the places


def test_a_structure_nested_beyond_reason_is_one_error() -> None:
    value: dict[str, Any] = {"name": "a", "address": {"zip": 1}}
    for _ in range(2_000):
        value = {"name": "a", "address": {"zip": 1}, "friends": [value]}
    with pytest.raises(InvalidArguments):
        structured(value, Customer)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
HINTS = st.sampled_from(
    [int, str, float, bool, list[int], dict[str, int], Address, Customer, Order, Color, datetime,
     tuple[int, ...], int | str | None, list[Customer], timedelta, Literal["a", 1]]
)  # fmt: skip


@given(JSON, HINTS)
def test_any_json_fits_or_raises_one_kind_of_error(value: Any, hint: Any) -> None:
    try:
        result = structured(value, hint)
    except InvalidArguments:
        return
    assert structured(json.loads(json.dumps(unstructure(result))), hint) == result


# ── back to JSON ─────────────────────────────────────────────────────────────

CUSTOMERS = st.recursive(
    st.builds(
        Customer,
        name=st.text(),
        address=st.builds(Address, st.integers(), st.text()),
        tags=st.sets(st.text()),
        since=st.none() | st.datetimes(timezones=st.just(UTC)),
        color=st.sampled_from(Color),
        score=st.floats(allow_nan=False),
    ),
    lambda friends: st.builds(
        Customer,
        name=st.text(),
        address=st.builds(Address, st.integers()),
        friends=st.lists(friends, max_size=2),
    ),
    max_leaves=3,
)


@given(CUSTOMERS)
def test_a_class_survives_the_way_through_json(customer: Customer) -> None:
    assert structured(json.loads(json.dumps(unstructure(customer))), Customer) == customer


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Color.RED, "red"),
        (Level.LOW, 1),
        ([Color.RED, (1, 2)], ["red", [1, 2]]),
        ({Color.RED: Address(1)}, {"red": {"zip": 1, "street": ""}}),
        ({3, 1, 2}, [1, 2, 3]),
        (datetime(2025, 1, 1, tzinfo=UTC), "2025-01-01T00:00:00+00:00"),
        (date(2025, 1, 1), "2025-01-01"),
        (timedelta(milliseconds=1500), 1.5),
        (Decimal("1.10"), "1.10"),
        (Path("/tmp"), "/tmp"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    ],
    ids=str,
)
def test_python_values_become_json(value: Any, expected: Any) -> None:
    result = unstructure(value)
    assert result == expected
    assert type(result) is type(expected)


def test_sets_become_arrays_in_one_order() -> None:
    words = [f"w{n}" for n in range(50)]
    assert unstructure(set(words)) == unstructure(frozenset(words)) == sorted(words)


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        (datetime(2025, 1, 1), "no time zone"),
        ([datetime(2025, 1, 1)], "no time zone"),
        (Secret("hunter2"), "a Secret does not travel"),
        ({"a": [Secret("hunter2")]}, "a Secret does not travel"),
    ],
    ids=["naive", "naive inside", "secret", "secret inside"],
)
def test_what_must_not_travel_is_refused(value: Any, complaint: str) -> None:
    with pytest.raises(NotEncodable, match=complaint) as caught:
        unstructure(value)
    assert "hunter2" not in str(caught.value)


def test_a_value_that_contains_itself_is_refused() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(NotEncodable, match="contains itself"):
        unstructure(value)


@pytest.mark.parametrize(
    "hint", [str, int, float, bool, None, Any, dict, list, dict[str, Any]], ids=str
)
def test_plain_hints_are_known(hint: Any) -> None:
    assert is_plain_json(hint)


@pytest.mark.parametrize("hint", [Address, datetime, list[int], Color, Annotated[int, {}]], ids=str)
def test_other_hints_are_not_plain(hint: Any) -> None:
    assert not is_plain_json(hint)


def test_cattrs_is_imported_with_the_first_class_and_not_before() -> None:
    program = """
import sys
from stem_core.model.structure import structure, unstructure
structure({"a": [1, None]}, dict[str, list[int | None]], path="x")
unstructure({"a": 1})
assert "cattrs" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


# ── options of a URL ─────────────────────────────────────────────────────────


@attrs.frozen(kw_only=True)
class Options:
    prefix: str = attrs.field(default="stem", metadata={"help": "What keys start with."})
    max_connections: int = attrs.field(default=10, validator=attrs.validators.ge(1))
    socket_timeout: Milliseconds = FIVE_SECONDS
    ratio: float = 0.5
    decode: bool = False
    protocol: Literal[2, 3] = 2
    color: Color = Color.RED
    sentinel_password: Secret[str] | None = None
    queues: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class Needy:
    bucket: str
    ports: tuple[int, ...] = attrs.field(factory=lambda: (1, 2))


def read(query: list[tuple[str, str]], cls: type[Any] = Options) -> Any:
    return options_from_query(cls, query, source="STEM_BROKER_URL", redacted_url="redis://h")


def test_texts_become_typed_options() -> None:
    query = [
        ("max_connections", "3"),
        ("socket_timeout", "1m"),
        ("ratio", "1e-3"),
        ("decode", "Yes"),
        ("protocol", "3"),
        ("color", "blue"),
        ("sentinel_password", "hunter2"),
        ("queues", "a,b"),
        ("queues", "c"),
    ]
    assert read(query) == Options(
        max_connections=3,
        socket_timeout=Milliseconds(60_000),
        ratio=0.001,
        decode=True,
        protocol=3,
        color=Color.BLUE,
        sentinel_password=Secret("hunter2"),
        queues=("a", "b", "c"),
    )


def test_no_parameters_are_the_defaults() -> None:
    assert read([]) == Options()


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        (
            "max_conections",
            "1",
            "unknown parameter 'max_conections' (did you mean 'max_connections'?)",
        ),
        ("zzz", "1", "unknown parameter 'zzz';"),
        ("decode", "maybe", "decode='maybe': expected true or false"),
        ("max_connections", "1_0", "max_connections='1_0': expected an integer"),
        ("max_connections", "9" * 5000, "expected an integer"),
        ("max_connections", "0", "'max_connections' must be >= 1"),
        ("ratio", "inf", "ratio='inf': expected a number"),
        ("ratio", "1e999", "ratio='1e999': expected a number"),
        ("socket_timeout", "5", "expected a duration such as 500ms, 30s, 5m"),
        ("socket_timeout", "-5s", "expected a duration"),
        ("protocol", "4", "protocol='4': expected one of 2, 3"),
        ("color", "RED", "color='RED': expected one of red, blue"),
        ("queues", "a,,b", "without empty places"),
    ],
)
def test_a_wrong_parameter_is_named(name: str, text: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read([(name, text), ("queues", "x")] if name != "queues" else [(name, text)])
    assert complaint.rstrip(";") in caught.value.message
    assert caught.value.message.startswith("STEM_BROKER_URL (redis://h): ")
    assert "Accepted parameters: prefix, max_connections," in caught.value.way_out


def test_all_wrong_parameters_are_told_at_once_and_no_secret() -> None:
    query = [
        ("sentinel_password", "hunter2"),
        ("sentinel_password", "hunter3"),
        ("prefix", "a"),
        ("prefix", "b"),
        ("decode", "x"),
        ("bogus", "hunter4"),
    ]
    with pytest.raises(ConfigError) as caught:
        read(query)
    told = str(caught.value)
    assert "sentinel_password=***: given 2 times" in told
    assert "prefix='a': given 2 times" in told
    assert "decode='x'" in told
    assert "bogus" in told
    assert "hunter" not in told


def test_a_required_parameter_is_missed() -> None:
    with pytest.raises(ConfigError, match="bucket: is required"):
        read([], Needy)


def test_options_describe_themselves() -> None:
    described = {info.name: info for info in describe_options(Options)}
    assert described["prefix"] == OptionInfo(
        name="prefix", type="text", default="stem", help="What keys start with."
    )
    assert {name: (info.type, info.default) for name, info in described.items()} == {
        "prefix": ("text", "stem"),
        "max_connections": ("integer", "10"),
        "socket_timeout": ("duration", "5s"),
        "ratio": ("number", "0.5"),
        "decode": ("true or false", "false"),
        "protocol": ("one of 2, 3", "2"),
        "color": ("one of red, blue", "red"),
        "sentinel_password": ("secret", ""),
        "queues": ("list of text", ""),
    }
    assert [info.default for info in describe_options(Needy)] == ["", "1,2"]


def test_a_class_with_an_option_of_no_readable_type_is_a_mistake_of_its_author() -> None:
    wrong = attrs.make_class("Wrong", {"x": attrs.field(type=complex, default=0j)})
    with pytest.raises(TypeError, match="cannot have the type"):
        read([("x", "1")], wrong)


@given(
    st.lists(
        st.tuples(st.sampled_from([f.name for f in attrs.fields(Options)]), st.text(max_size=8))
    )
)
def test_any_query_is_options_or_one_kind_of_error(query: list[tuple[str, str]]) -> None:
    try:
        options = read(query)
    except ConfigError:
        return
    assert type(options.max_connections) is int
    assert options.max_connections >= 1

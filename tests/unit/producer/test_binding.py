from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import Any, TypedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.producer import shop
from unit.producer.shop import Colour, Order, Unborn

from stem_core.model.errors import InvalidArguments, InvalidTask, ResultCorrupt
from stem_core.producer.binding import Binding

AT = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
ORDER = Order(number=7, colour=Colour.RED, at=AT)
ON_THE_WIRE = {"number": 7, "colour": "red", "at": "2026-01-02T03:04:00+00:00"}

plain = Binding.of(shop.plain, wants_context=False)


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [(("a", 1), {}), (("a",), {"second": 1}), ((), {"second": 1, "first": "a"})],
)
def test_arguments_travel_by_name_however_they_were_given(args: Any, kwargs: Any) -> None:
    assert plain.to_wire(args, kwargs) == {"first": "a", "second": 1}


def test_a_parameter_may_have_any_name() -> None:
    def work(type: str, _type0: int, *, longer_than_these: bool, isfinite: float) -> None: ...

    binding = Binding.of(work, wants_context=False)
    given = {"_type0": 1, "longer_than_these": True, "isfinite": 0.5}
    assert binding.to_wire(("a",), given) == {"type": "a", **given}
    with pytest.raises(InvalidArguments, match="_type0: expected int, got str 'b'"):
        binding.to_wire(("a", "b"), {"longer_than_these": True, "isfinite": 0.5})
    with pytest.raises(InvalidArguments, match="at most 2 positional"):
        binding.to_wire(("a", 1, True), {"isfinite": 0.5})


def test_a_default_is_left_to_the_worker() -> None:
    assert shop.charge.binding.to_wire(("ada",), {}) == {"customer": "ada"}


@pytest.mark.parametrize(
    ("args", "kwargs", "says"),
    [
        (("a", 1, 2), {}, "takes at most 2 positional arguments, got 3"),
        (("a",), {}, "argument 'second' missing"),
        ((), {}, "arguments 'first', 'second' missing"),
        (("a", 1), {"first": "b"}, "argument 'first' is given twice"),
        (("a",), {"secnod": 1}, "has no parameter 'secnod'"),
        (("a", "1"), {}, "second: expected int, got str '1'"),
        (("a", True), {}, "second: expected int, got bool True"),
        ((1, "b"), {}, "first: expected str, got int 1; second: expected int, got str 'b'"),
        (("a", None), {}, "second: expected int, got null"),
    ],
)
def test_a_wrong_call_says_what_is_wrong_and_shows_the_signature(
    args: Any, kwargs: Any, says: str
) -> None:
    with pytest.raises(InvalidArguments) as caught:
        plain.to_wire(args, kwargs)
    assert caught.value.message == f"plain: {says}"
    assert "Its signature is plain(first: 'str', second: 'int')" in caught.value.way_out


def test_a_mistyped_argument_is_answered_with_the_nearest() -> None:
    with pytest.raises(InvalidArguments, match="Did you mean 'amount'"):
        shop.charge.binding.to_wire(("ada",), {"amonut": 3})


def test_users_types_travel_as_json_and_come_back_as_what_they_were() -> None:
    binding = shop.describe.binding
    wire = binding.to_wire((ORDER,), {})
    assert wire == {"order": ON_THE_WIRE}
    assert binding.from_wire(wire) == {"order": ORDER}


def test_a_value_in_a_payload_of_any_type_is_unstructured_too() -> None:
    wire = shop.anything.binding.to_wire(({"orders": [ORDER]},), {})
    assert wire == {"payload": {"orders": [ON_THE_WIRE]}}


def test_a_dataclass_and_a_typed_dict_are_arguments_like_others() -> None:
    binding = Binding.of(takes_point, wants_context=False)
    wire = binding.to_wire((Point(1, 2), {"name": "x"}), {})
    assert wire == {"point": {"x": 1, "y": 2}, "tag": {"name": "x"}}
    assert binding.from_wire(wire) == {"point": Point(1, 2), "tag": {"name": "x"}}


@dataclasses.dataclass
class Point:
    x: int
    y: int


class Tag(TypedDict):
    name: str


def takes_point(point: Point, tag: Tag) -> None: ...


@pytest.mark.parametrize(
    ("wire", "says"),
    [
        ({"first": "a"}, "'second' missing"),
        ({"first": "a", "second": 1, "third": 2}, "has no parameter 'third'"),
        ({"first": "a", "second": 1.5}, "second: expected int"),
    ],
)
def test_arguments_that_do_not_fit_the_workers_signature_are_refused(
    wire: dict[str, Any], says: str
) -> None:
    with pytest.raises(InvalidArguments, match=says):
        plain.from_wire(wire)


def test_every_problem_of_a_message_is_told_at_once() -> None:
    with pytest.raises(InvalidArguments) as caught:
        shop.describe.binding.from_wire({"order": {"number": "7", "colour": "green"}, "note": 5})
    for path in ("order.number", "order.colour", "order.at", "note"):
        assert path in caught.value.message


@given(st.text(), st.integers())
def test_what_a_producer_binds_a_worker_gets(first: str, second: int) -> None:
    assert plain.from_wire(plain.to_wire((first,), {"second": second})) == {
        "first": first,
        "second": second,
    }


# ── annotations ──────────────────────────────────────────────────────────────


def test_the_context_is_no_argument() -> None:
    assert shop.export.binding.names == ("year",)
    assert shop.export.binding.to_wire((2025,), {}) == {"year": 2025}


def test_the_contexts_annotation_may_be_there_for_checkers_only() -> None:
    assert shop.quiet.binding.to_wire((2025,), {}) == {"year": 2025}


def test_an_annotation_may_name_a_class_that_comes_later() -> None:
    binding = shop.later.binding
    assert binding.from_wire(binding.to_wire((Unborn("x"),), {})) == {"order": Unborn("x")}


def test_an_annotation_that_never_resolves_is_told_at_the_first_call() -> None:
    def takes_ghost(ghost: Ghost) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    binding = Binding.of(takes_ghost, wants_context=False)
    with pytest.raises(InvalidTask, match="Ghost"):
        binding.to_wire((1,), {})


@pytest.mark.parametrize("hint", [bytes, "complex", object.__init__.__class__])
def test_a_type_without_a_json_form_is_refused_at_once(hint: Any) -> None:
    def takes(value: Any) -> None: ...

    takes.__annotations__["value"] = hint
    with pytest.raises(InvalidTask, match="parameter 'value'"):
        Binding.of(takes, wants_context=False)


def test_a_task_that_wants_a_context_needs_a_place_for_it() -> None:
    def nothing() -> None: ...

    with pytest.raises(InvalidTask, match="no first parameter for the TaskContext"):
        Binding.of(nothing, wants_context=True)


# ── results ──────────────────────────────────────────────────────────────────


def test_a_result_comes_back_as_the_type_that_the_function_declares() -> None:
    binding = shop.describe.binding
    assert binding.result_to_wire(ORDER) == ON_THE_WIRE
    assert binding.result_from_wire(ON_THE_WIRE) == ORDER


def test_a_result_of_another_type_is_told_with_its_path() -> None:
    with pytest.raises(ResultCorrupt, match=r"result: expected str, got int 5"):
        shop.charge.binding.result_from_wire(5)


def test_without_a_declared_type_the_json_value_is_the_result() -> None:
    def undeclared(): ...

    def of_pythons_own() -> bytes:
        return b""

    for function in (undeclared, of_pythons_own):
        binding = Binding.of(function, wants_context=False)
        assert binding.result_from_wire({"x": [1]}) == {"x": [1]}

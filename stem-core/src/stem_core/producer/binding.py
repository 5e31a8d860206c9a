"""Between a Python call and the arguments on the wire, in both directions.

Rule of this module: what a signature can decide is decided once, when the task is
made; a call pays for one look at each argument. Nothing here is filled in: a
default is the worker's, whose code may be newer.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Any, Final, NoReturn, cast, get_type_hints

from stem_core.model.errors import InvalidArguments, InvalidTask, ResultCorrupt
from stem_core.model.structure import Check, plan, structure_arguments, unstructure

__all__ = ["Binding"]

_SCALARS: Final = (str, int, float, bool)
_REFUSED_KINDS: Final[Mapping[Any, str]] = {
    inspect.Parameter.POSITIONAL_ONLY: "is positional-only",
    inspect.Parameter.VAR_POSITIONAL: "takes any number of arguments (*)",
    inspect.Parameter.VAR_KEYWORD: "takes any keyword (**)",
}


class Binding:
    """How calls of one function travel.

    Attributes:
        signature: of the function, without its context.
        names: of all parameters, in order.
    """

    def __init__(self, fn: Callable[..., Any], signature: inspect.Signature) -> None:
        self._fn = fn
        self.signature: Final = signature
        parameters = signature.parameters.values()
        self.names: Final = tuple(signature.parameters)
        self._known: Final = frozenset(self.names)
        self._positional: Final = tuple(
            each.name for each in parameters if each.kind is each.POSITIONAL_OR_KEYWORD
        )
        self._required: Final = frozenset(
            each.name for each in parameters if each.default is each.empty
        )

    @classmethod
    def of(cls, fn: Callable[..., Any], wants_context: bool) -> Binding:
        """Return the binding of *fn*; with *wants_context* its first parameter is left out.

        Raises:
            InvalidTask: a signature whose calls cannot be named arguments, or a type
                that no JSON value can become.
        """
        signature = inspect.signature(fn)
        parameters = list(signature.parameters.values())
        if wants_context:
            if not parameters or parameters[0].kind not in _CAN_BE_FIRST:
                raise InvalidTask(
                    f"{_label(fn)} has no first parameter for the TaskContext",
                    way_out="Write def task(ctx: TaskContext, …), or leave out context=True.",
                )
            parameters = parameters[1:]
        for parameter in parameters:
            if (why := _REFUSED_KINDS.get(parameter.kind)) is not None:
                raise InvalidTask(
                    f"{_label(fn)}: parameter {parameter.name!r} {why}",
                    way_out="Arguments travel by name: give every parameter a name of its own.",
                )
        binding = cls(fn, signature.replace(parameters=parameters))
        binding._judge_annotations()
        return binding

    # ── the producer's side ──

    def to_wire(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments of a call by name, as JSON values; fills in no defaults.

        Raises:
            InvalidArguments: it does not fit the signature; names the parameter and
                every value of a wrong type.
        """
        if (at_once := self._at_once) is not None:
            try:
                plain: dict[str, Any] | None = at_once(*args, **kwargs)
            except TypeError:
                self._refuse_call(args, kwargs)
            if plain is not None:
                return plain
        wire = dict(zip(self._positional, args, strict=False))
        if kwargs:
            wire.update(kwargs)
        if len(wire) != len(args) + len(kwargs) or (
            len(wire) < len(self.names) and not wire.keys() >= self._required
        ):
            self._refuse_call(args, kwargs)
        scalars = self._scalars
        for name, value in wire.items():
            if type(value) is not scalars.get(name):
                return self._unstructured(wire)
        return wire

    def _unstructured(self, wire: dict[str, Any]) -> dict[str, Any]:
        """Return what is more than a text, a number or a truth value, or is none it should be."""
        if not self._known.issuperset(wire):
            self._refuse_names((), wire)
        plain = {name: unstructure(value) for name, value in wire.items()}
        try:
            structure_arguments(plain, self._checks)
        except InvalidArguments as error:
            raise InvalidArguments(
                f"{_label(self._fn)}: {error.message}", way_out=self._way_out
            ) from None
        return plain

    # ── the worker's side ──

    def from_wire(self, args: dict[str, Any]) -> dict[str, Any]:
        """Return the keyword arguments to call the function with, as its types.

        Raises:
            InvalidArguments: every problem at once, each with its path.
        """
        scalars = self._scalars
        for name, value in args.items():
            if type(value) is not scalars.get(name):
                return self._structured(args)
        if len(args) < len(self.names) and not args.keys() >= self._required:
            self._refuse_missing(args)
        return args

    def _structured(self, args: dict[str, Any]) -> dict[str, Any]:
        if not self._known.issuperset(args):
            self._refuse_names((), args)
        if not args.keys() >= self._required:
            self._refuse_missing(args)
        return structure_arguments(args, self._checks)

    # ── results ──

    def result_to_wire(self, value: object) -> Any:
        """Return a result as JSON values; what has no JSON form is left for the codec to refuse."""
        return unstructure(value)

    def result_from_wire(self, value: Any) -> Any:
        """Return a result as the type that the function declares, where it declares one.

        Raises:
            ResultCorrupt: it is of another type.
        """
        check = self._result_check
        if check is None:
            return value
        try:
            return structure_arguments({"result": value}, {"result": check})["result"]
        except InvalidArguments as error:
            raise ResultCorrupt(
                f"{_label(self._fn)}: {error.message}",
                way_out="The worker returned another type than the function declares here.",
            ) from None

    # ── what the annotations say ──

    def _judge_annotations(self) -> None:
        """Judge them now where they can be resolved; names that come later, at the first call."""
        try:
            self._resolved()
        except NameError:
            return
        _ = self._checks

    def _resolved(self) -> dict[str, Any]:
        fn = inspect.unwrap(self._fn)
        # The context's annotation is left out: it may be there for checkers only.
        wanted = {*self.names, "return"}
        annotations = {k: v for k, v in inspect.get_annotations(fn).items() if k in wanted}
        holder = type(fn.__name__, (), {"__annotations__": annotations})
        try:
            return get_type_hints(holder, globalns=fn.__globals__, include_extras=True)
        except (TypeError, SyntaxError) as error:
            raise InvalidTask(f"{_label(fn)}: an annotation is no type: {error}") from None

    @cached_property
    def _hints(self) -> dict[str, Any]:
        try:
            return self._resolved()
        except NameError as error:
            raise InvalidTask(
                f"{_label(self._fn)}: an annotation cannot be resolved: {error}",
                way_out="Import the type where the program runs, not for checkers only.",
            ) from None

    @cached_property
    def _scalars(self) -> dict[str, type]:
        """The parameters whose value travels as it is when its type is exactly this."""
        _ = self._checks
        return {name: hint for name in self.names if (hint := self._hints.get(name)) in _SCALARS}

    @cached_property
    def _at_once(self) -> Callable[..., dict[str, Any] | None] | None:
        """Takes the arguments of a call and returns them by name, or None if one is not of the
        scalar type that its parameter declares; raises `TypeError` if they do not fit.

        None for a function with any other parameter, or with a default, which is not filled in.
        """
        scalars = self._scalars
        if len(scalars) < len(self.names) or self._required < self._known or not self.names:
            return None
        outside = "_" + max(self.names, key=len)  # a name that no parameter has
        known = {f"{outside}{place}": kind for place, kind in enumerate(scalars.values())}
        fit = " and ".join(
            f"{outside}({name}) is {kind}" for name, kind in zip(self.names, known, strict=True)
        )
        by_name = ", ".join(f"{name!r}: {name}" for name in self.names)
        bare = [each.replace(annotation=each.empty) for each in self.signature.parameters.values()]
        takes = str(inspect.Signature(bare))[1:-1]
        # Python binds arguments itself, in a fifth of the time. The names are those of a
        # signature, which takes nothing but identifiers.
        made = eval(f"lambda {takes}: {{{by_name}}} if {fit} else None", {outside: type, **known})
        return cast("Callable[..., dict[str, Any] | None]", made)

    @cached_property
    def _checks(self) -> dict[str, Check]:
        hints, checks = self._hints, {}
        for name in self.names:
            try:
                checks[name] = plan(hints.get(name, Any))
            except InvalidTask as error:
                raise InvalidTask(
                    f"{_label(self._fn)}: parameter {name!r}: {error.message}",
                    way_out=error.way_out,
                ) from None
        return checks

    @cached_property
    def _result_check(self) -> Check | None:
        if "return" not in self._hints:
            return None
        try:
            return plan(self._hints["return"])
        except InvalidTask:
            return None  # a type of Python's alone: the caller gets the JSON value

    # ── refusals ──

    @property
    def _way_out(self) -> str:
        return f"Its signature is {self._fn.__name__}{self.signature}."

    def _refuse(self, what: str, guess: str = "") -> NoReturn:
        raise InvalidArguments(f"{_label(self._fn)}: {what}", way_out=guess + self._way_out)

    def _refuse_call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> NoReturn:
        most = len(self._positional)
        if len(args) > most:
            self._refuse(f"takes at most {most} positional arguments, got {len(args)}")
        taken = self._positional[: len(args)]
        if not self._known.issuperset(kwargs) or not kwargs.keys().isdisjoint(taken):
            self._refuse_names(taken, kwargs)
        self._refuse_missing((*taken, *kwargs))

    def _refuse_names(self, taken: Iterable[str], given: Mapping[str, Any]) -> NoReturn:
        taken = set(taken)
        for name in given:
            if name in taken:
                self._refuse(f"argument {name!r} is given twice")
            if name not in self._known:
                near = difflib.get_close_matches(name, self.names, n=1)
                guess = f"Did you mean {near[0]!r}? " if near else ""
                self._refuse(f"has no parameter {name!r:.80}", guess)
        raise AssertionError("only called for names that are wrong")

    def _refuse_missing(self, given: Iterable[str]) -> NoReturn:
        missing = [name for name in self.names if name in self._required - set(given)]
        named = ", ".join(map(repr, missing))
        self._refuse(f"argument{'s' if len(missing) > 1 else ''} {named} missing")


_CAN_BE_FIRST: Final = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
)


def _label(fn: Callable[..., Any]) -> str:
    return getattr(fn, "__qualname__", repr(fn))

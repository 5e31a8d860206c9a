"""Tasks and their calls: what a decorated function becomes, typed.

Rule of this module: a task knows its function, its options and how to bind a call.
Sending is somebody else's: the `Sender` that its registry belongs to.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from functools import update_wrapper
from typing import Any, ClassVar, Generic, ParamSpec, Protocol, TypeVar, Unpack

from stem_core.model.errors import InvalidOption, NotEncodable, UsageError
from stem_core.model.ids import check_name
from stem_core.model.options import NOTHING_GIVEN, PublishDict, TaskOptions
from stem_core.model.value import Value
from stem_core.producer.binding import Binding
from stem_core.producer.how import PLAINLY, How, split
from stem_core.producer.job import BlockingJob, Job
from stem_core.producer.sending import Pending

__all__ = [
    "AnyTask",
    "Blocking",
    "Call",
    "Enqueuer",
    "Sender",
    "Task",
    "call_by_name",
    "not_a_call",
]

P = ParamSpec("P")
PC = ParamSpec("PC")
R = TypeVar("R")
Ret = TypeVar("Ret")
R_co = TypeVar("R_co", covariant=True)


class Call(Value, Generic[R_co], frozen=True, gc=False, kw_only=True):
    """One call, bound and checked, not sent yet.

    Attributes:
        name: of the task.
        args: by parameter name, as JSON values.
        given: the options that this call asks for.
        how: everything else that it asks for.
        task: None for a call by name.
    """

    _hidden: ClassVar[frozenset[str]] = frozenset({"args"})

    name: str
    args: dict[str, Any]
    given: TaskOptions = NOTHING_GIVEN
    how: How = PLAINLY
    task: Task[Any, Any, Any, R_co] | None = None


class Sender(Protocol):
    """Who sends calls: a Stem."""

    def _send(self, call: Call[R]) -> Coroutine[Any, Any, Job[R]]: ...
    def _send_blocking(self, call: Call[R]) -> BlockingJob[R]: ...


class Enqueuer(Generic[P, R]):
    """Calls of one task, each sent in one way."""

    _task: Task[Any, Any, P, R]
    _given: TaskOptions
    _how: How

    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, Job[R]]:
        """Send one call; await it. Takes the task's own arguments and nothing else.

        When it returns, the message is durable to the class that the broker declares.

        Raises:
            EnqueueError: the call is refused, nothing was published.
            CapabilityMissing: an option that the broker cannot honour.
            StoreError: the broker could not be reached within the publish deadline.
        """
        return self._enqueue(Pending(), args, kwargs)

    async def _enqueue(
        self, pending: Pending, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Job[R]:
        pending.code = None
        return await self._task.sender._send(self._bound(args, kwargs))

    def call(self, *args: P.args, **kwargs: P.kwargs) -> Call[R]:
        """Return one call, bound and checked, for `enqueue_many` or `TaskContext.enqueue`.

        Raises:
            InvalidArguments: it does not fit the task's signature.
        """
        return self._bound(args, kwargs)

    def using(self, **how: Unpack[PublishDict]) -> Enqueuer[P, R]:
        """Return the same task, called in another way: options, a delay, headers, meta, an id.

        Raises:
            InvalidOption: an unknown name, with the nearest one, or an impossible value.
        """
        given, beside = split(how)
        return _Variant(self._task, given.over(self._given), beside.over(self._how))

    @property
    def blocking(self) -> Blocking[P, R]:
        """The same for code without an event loop."""
        return Blocking(self)

    def _bound(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call[R]:
        task = self._task
        return Call(
            name=task.name,
            args=task.binding.to_wire(args, kwargs),
            given=self._given,
            how=self._how,
            task=task,
        )


class Blocking(Generic[P, R]):
    """Calls of one task from code without an event loop."""

    __slots__ = ("_enqueuer",)

    def __init__(self, enqueuer: Enqueuer[P, R]) -> None:
        self._enqueuer = enqueuer

    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> BlockingJob[R]:
        """Send one call and wait for it; see `Enqueuer.enqueue`.

        Raises:
            UseAwait: inside a running event loop, which it would stop.
        """
        enqueuer = self._enqueuer
        return enqueuer._task.sender._send_blocking(enqueuer._bound(args, kwargs))


class _Variant(Enqueuer[P, R]):
    __slots__ = ("_given", "_how", "_task")

    def __init__(self, task: Task[Any, Any, P, R], given: TaskOptions, how: How) -> None:
        self._task = task
        self._given = given
        self._how = how


class Task(Enqueuer[P, R], Generic[PC, Ret, P, R]):
    """A function that a worker can run. Calling it runs it here and now, as before.

    Attributes:
        name: as in the envelope.
        fn: the function.
        options: those of its registration.
        aliases: earlier names that it still answers to.
        wants_context: its first parameter is the `TaskContext`, which no caller gives.
        is_async: it is an ``async def``.
        binding: between its arguments and the wire.
    """

    __name__: str
    __qualname__: str

    def __init__(
        self,
        fn: Callable[PC, Ret],
        *,
        name: str,
        options: TaskOptions = NOTHING_GIVEN,
        aliases: tuple[str, ...] = (),
        wants_context: bool = False,
        is_async: bool = False,
        binding: Binding,
    ) -> None:
        self.name = name
        self.fn = fn
        self.options = options
        self.aliases = aliases
        self.wants_context = wants_context
        self.is_async = is_async
        self.binding = binding
        self._sender: Sender | None = None
        self._task = self
        self._given = NOTHING_GIVEN
        self._how = PLAINLY
        update_wrapper(self, fn, updated=())

    def __call__(self, *args: PC.args, **kwargs: PC.kwargs) -> Ret:
        """Run the function here and now."""
        return self.fn(*args, **kwargs)

    @property
    def sender(self) -> Sender:
        """The Stem that sends its calls: the last that included it."""
        if self._sender is None:
            raise UsageError(
                f"task {self.name!r} belongs to no Stem, so nobody can send it",
                way_out="Include its registry: stem.include(registry).",
            )
        return self._sender

    def __reduce__(self) -> str:
        # By its name, as functions are pickled: the other side imports it.
        return self.fn.__qualname__

    def __repr__(self) -> str:
        return f"Task({self.name!r})"


AnyTask = Task[Any, Any, Any, Any]
"""A task of whatever signature."""


def not_a_call(given: object, label: str) -> UsageError:
    """Return the error for an object that stands where a call belongs."""
    if isinstance(given, Coroutine):
        return UsageError(
            f"{label} is a coroutine, not a call",
            way_out="Write .call(…) instead of .enqueue(…). Nothing of it was sent.",
        )
    return UsageError(
        f"{label} is of type {type(given).__name__}, not a call",
        way_out='Write task.call(…), or stem.call("name", {…}).',
    )


def call_by_name(
    name: str,
    args: Mapping[str, Any] | None,
    options: TaskOptions | None,
    how: Mapping[str, Any],
) -> Call[Any]:
    """Return a call of a task that need not be registered here; *args* are JSON already.

    Raises:
        InvalidOption: options or *how* cannot be.
        NotEncodable: *args* are no object.
    """
    if args is not None and not isinstance(args, Mapping):
        raise NotEncodable(
            f"args: an object (dict) by parameter name is needed, got {type(args).__name__}"
        )
    if options is not None and not isinstance(options, TaskOptions):
        raise InvalidOption(
            f"options={options!r:.60} is no TaskOptions",
            way_out="Write options=TaskOptions(queue=…).",
        )
    asked = {key: value for key, value in how.items() if value is not None}
    return Call(
        name=check_name(name, kind="task"),
        args={} if args is None else dict(args),
        given=NOTHING_GIVEN if options is None else options,
        how=How.of(**asked) if asked else PLAINLY,
    )

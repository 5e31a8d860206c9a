"""The Stem client: the one object that a producer needs.

Rule of this module: it puts the pieces together and holds no logic of theirs. It
belongs to no event loop, thread or process.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeAlias, TypeVar, overload

from attrs import evolve

from stem_core.contracts.broker import Broker
from stem_core.contracts.clock import SYSTEM_CLOCK, SYSTEM_DICE, Clock, Dice
from stem_core.contracts.hookspecs import Middleware
from stem_core.contracts.messages import CancelStatus, Message, Published, PublishStatus
from stem_core.discovery.host import PluginHost
from stem_core.model.duration import Duration
from stem_core.model.errors import EnqueueError
from stem_core.model.ids import check_id
from stem_core.model.options import UNSET, TaskOptions
from stem_core.model.outcome import State, TaskStatus
from stem_core.model.settings import StemConfig
from stem_core.model.urls import StemURL
from stem_core.producer import blocking, listing, publishing, reading
from stem_core.producer.facade import BlockingStem
from stem_core.producer.job import BlockingJob, Job
from stem_core.producer.listing import StatusPage
from stem_core.producer.registry import TaskRegistry
from stem_core.producer.resolved import Resolved
from stem_core.producer.routes import Routes
from stem_core.producer.runtime import (
    GivenBackend,
    GivenBroker,
    GivenSigner,
    Runtime,
    Wiring,
    check_schemes,
    parsed,
)
from stem_core.producer.sending import Pending
from stem_core.producer.tasks import AnyTask, Call, call_by_name
from stem_core.producer.vouching import ControlWriter, tell_workers

if TYPE_CHECKING:
    from stem_core.producer.override import Override

__all__ = ["Stem"]

R = TypeVar("R")

# `list` is a verb of a Stem, so inside of it nothing else can be called so.
Jobs: TypeAlias = list[Job[R]]
JobsOrErrors: TypeAlias = list[Job[R] | EnqueueError]
Many: TypeAlias = list[Any]

CREATED: Final = PublishStatus.CREATED  # one lookup less for every call
CONFLICT: Final = PublishStatus.CONFLICT


class Stem(Resolved):
    """Sends calls of tasks to a broker, and finds out what became of them.

    Make one when the program starts and use it everywhere: from any event loop, any
    thread, and after a fork. It connects on first use. What is not given comes from
    the environment (`STEM_*`), also on first use, so that a module that makes one can
    be imported anywhere.

    Args:
        broker: a URL or a broker; else `STEM_BROKER_URL`.
        backend: a URL or a result backend; None for none; else `STEM_RESULT_BACKEND_URL`,
            else the broker's own store where it has one.
        registry: its tasks are this Stem's tasks; else a new one.
        signer: a URL or a signer; None to send unsigned whatever is configured; else
            `STEM_SIGNER_URL` or `STEM_SIGNING_*`.
        config: settings, instead of the environment's.
        namespace: prefix of everything that is stored; else `STEM_NAMESPACE`.
        routes: queues by pattern of task names; else `STEM_ROUTES`.
        middleware: sees every new envelope before it is encoded and signed.
        clock, dice: where time and chance come from.
        plugins: who opens URLs; else what is installed.
    """

    def __init__(
        self,
        broker: GivenBroker | str = None,
        *,
        backend: GivenBackend | str = UNSET,
        registry: TaskRegistry | None = None,
        signer: GivenSigner | str = UNSET,
        config: StemConfig | None = None,
        namespace: str | None = None,
        routes: Mapping[str, str] | str | None = None,
        middleware: Sequence[Middleware] = (),
        clock: Clock = SYSTEM_CLOCK,
        dice: Dice = SYSTEM_DICE,
        plugins: PluginHost | None = None,
    ) -> None:
        wiring = Wiring(
            broker=parsed(broker, "broker"),
            backend=parsed(backend, "backend"),
            signer=parsed(signer, "signer"),
            routes=None if routes is None else Routes.parse(routes),
            middleware=tuple(middleware),
            clock=clock,
            dice=dice,
        )
        super().__init__(wiring, registry, config=config, namespace=namespace, plugins=plugins)
        self.registry.belong_to(self)

    @classmethod
    def from_environment(cls, env: Mapping[str, str] | None = None) -> Self:
        """Return a Stem of these variables, by default the process's, checked at once.

        Raises:
            ConfigError: everything that is wrong with them.
            PluginError: no plugin opens one of the URLs.
        """
        stem = cls(config=StemConfig.from_environment(env))
        check_schemes(stem._runtime, stem.plugins)
        return stem

    # ── sending ──

    def enqueue(
        self,
        name: str,
        args: Mapping[str, Any] | None = None,
        *,
        options: TaskOptions | None = None,
        headers: Mapping[str, str] | None = None,
        meta: Mapping[str, Any] | None = None,
        not_before: datetime | None = None,
        delay: Duration | None = None,
        task_id: str | None = None,
        connection: object = None,
    ) -> Coroutine[Any, Any, str]:
        """Send a call by the task's name; return its id. The task need not be registered here.

        Args:
            name: of the task.
            args: by parameter name, as JSON values.
            options: what this call asks for; it wins over every registration.
            headers: text by name, for the handler (tracing).
            meta: kept with every result entry (audit).
            not_before: the earliest start, with a time zone.
            delay: the earliest start, from the moment the broker accepts it.
            task_id: chosen by the caller; the same id makes no second message.
            connection: publish in the transaction of this connection.

        Raises:
            EnqueueError: the call is refused, nothing was published.
            CapabilityMissing: an option that the broker cannot honour.
            StoreError: the broker could not be reached within the publish deadline.
        """
        how = {
            "headers": headers,
            "meta": meta,
            "not_before": not_before,
            "delay": delay,
            "task_id": task_id,
            "connection": connection,
        }
        return self._enqueue(Pending(), name, args, options, how)

    async def _enqueue(
        self,
        pending: Pending,
        name: str,
        args: Mapping[str, Any] | None,
        options: TaskOptions | None,
        how: dict[str, Any],
    ) -> str:
        pending.code = None
        return (await self._send(call_by_name(name, args, options, how))).id

    def call(
        self,
        name: str,
        args: Mapping[str, Any] | None = None,
        *,
        options: TaskOptions | None = None,
        headers: Mapping[str, str] | None = None,
        meta: Mapping[str, Any] | None = None,
        not_before: datetime | None = None,
        delay: Duration | None = None,
        task_id: str | None = None,
    ) -> Call[Any]:
        """Return a call by name, not sent yet, for `enqueue_many` or `TaskContext.enqueue`."""
        how = {
            "headers": headers,
            "meta": meta,
            "not_before": not_before,
            "delay": delay,
            "task_id": task_id,
        }
        return call_by_name(name, args, options, how)

    @overload
    def enqueue_many(
        self, calls: Iterable[Call[R]], *, return_exceptions: Literal[False] = False
    ) -> Coroutine[Any, Any, Jobs[R]]: ...
    @overload
    def enqueue_many(
        self, calls: Iterable[Call[R]], *, return_exceptions: Literal[True]
    ) -> Coroutine[Any, Any, JobsOrErrors[R]]: ...

    def enqueue_many(self, calls: Iterable[Call[Any]], *, return_exceptions: bool = False) -> Any:
        """Send many calls in as few round trips as the broker allows; jobs by position.

        Every call is checked before the first is sent. Those that the broker then
        refuses do not stop the others: with *return_exceptions* their errors stand in
        their places, without it an `ExceptionGroup` of them is raised at the end.

        Raises:
            UsageError: one of them is no call; nothing was published.
            EnqueueError, CapabilityMissing: a call is wrong; nothing was published.
            ExceptionGroup: the broker refused some, each an `EnqueueError`; all others
                are published.
            StoreError: the broker could not be reached; calls may be published in part.
        """
        return self._enqueue_many(Pending(), calls, return_exceptions)

    async def _enqueue_many(
        self, pending: Pending, calls: Iterable[Call[Any]], return_exceptions: bool
    ) -> Many:
        pending.code = None
        todo = publishing.checked(calls)
        runtime = self._made or self._runtime
        until = runtime.until()
        lane = await runtime.lane(until)
        messages = runtime.pipeline.prepare_all(todo)
        connection = publishing.the_connection(todo)
        if connection is None:
            replies = await lane.publish_many(messages, until)
        else:
            replies = await publishing.publish_in(lane, connection, messages)
        if any(reply.status is CONFLICT for reply in replies):
            replies = await publishing.reconsidered(lane, list(messages), replies)
        return self._all_ended(runtime, todo, messages, replies, return_exceptions)

    def _all_ended(
        self,
        runtime: Runtime,
        todo: Sequence[Call[Any]],
        messages: Iterable[Message],
        replies: Sequence[Published],
        return_exceptions: bool,
    ) -> Many:
        if not runtime.observers and all(reply.status is CREATED for reply in replies):
            return [
                Job(message.id, self, call.task)
                for call, message in zip(todo, messages, strict=True)
            ]
        ended = list(map(partial(self._ended, runtime), todo, messages, replies))
        refused = [each for each in ended if isinstance(each, EnqueueError)]
        if refused and not return_exceptions:
            raise ExceptionGroup(f"{len(refused)} of {len(todo)} calls were refused", refused)
        return ended

    async def _send(self, call: Call[R]) -> Job[R]:
        runtime = self._made or self._runtime
        lane, until = runtime.lanes.here(), None
        if lane is None:
            until = runtime.until()
            lane = await runtime.lane(until)
        message = runtime.pipeline.prepare(call)
        if call.how.connection is None:
            reply = await lane.publish(message, until)
        else:
            [reply] = await publishing.publish_in(lane, call.how.connection, [message])
        if reply.status is CREATED and not runtime.observers:
            return Job(reply.id, self, call.task)
        if reply.status is CONFLICT:
            [reply] = await publishing.reconsidered(lane, [message], [reply])
        return self._job(runtime, call, message, reply)

    def _job(self, runtime: Runtime, call: Call[R], message: Message, reply: Published) -> Job[R]:
        ended = self._ended(runtime, call, message, reply)
        if isinstance(ended, EnqueueError):
            raise ended
        return ended

    def _ended(
        self, runtime: Runtime, call: Call[R], message: Message, reply: Published
    ) -> Job[R] | EnqueueError:
        if reply.status is CREATED:
            if runtime.observers:
                event = publishing.enqueued(message, runtime.clock.wall_ms())
                runtime.observers.emit(event)
            return Job(reply.id, self, call.task)
        refusal = publishing.refusal(call, message, reply)
        created = publishing.created(call, reply)
        return refusal or Job(reply.id, self, call.task, created=created)

    def _send_blocking(self, call: Call[R]) -> BlockingJob[R]:
        if call.how.connection is None:
            job = blocking.run(self._send(call))
        else:
            job = self._send_in_thread(call)
        return BlockingJob(job.id, self.blocking, call.task, created=job.created)

    def _send_in_thread(self, call: Call[R]) -> Job[R]:
        """Publish in this thread, to which the connection belongs."""
        lane = blocking.run(self.lane())
        runtime = self._made or self._runtime
        message = runtime.pipeline.prepare(call)
        [reply] = publishing.publish_in_sync(lane, call.how.connection, [message])
        if reply.status is CONFLICT:
            [reply] = blocking.run(publishing.reconsidered(lane, [message], [reply]))
        return self._job(runtime, call, message, reply)

    def _send_many_blocking(self, calls: Iterable[Call[Any]], return_exceptions: bool) -> Many:
        todo = publishing.checked(calls)
        if publishing.the_connection(todo) is None:
            jobs = blocking.run(self._enqueue_many(Pending(), todo, return_exceptions))
        else:
            jobs = self._send_many_in_thread(todo, return_exceptions)
        return [
            BlockingJob(job.id, self.blocking, call.task, created=job.created)
            if isinstance(job, Job)
            else job
            for job, call in zip(jobs, todo, strict=True)
        ]

    def _send_many_in_thread(self, todo: Sequence[Call[Any]], return_exceptions: bool) -> Many:
        """Publish in this thread, to which the connection belongs."""
        lane = blocking.run(self.lane())
        runtime = self._made or self._runtime
        messages = runtime.pipeline.prepare_all(todo)
        replies = publishing.publish_in_sync(lane, publishing.the_connection(todo), messages)
        if any(reply.status is CONFLICT for reply in replies):
            replies = blocking.run(publishing.reconsidered(lane, list(messages), replies))
        return self._all_ended(runtime, todo, messages, replies, return_exceptions)

    # ── finding out ──

    def job(self, id: str, task: AnyTask | None = None) -> Job[Any]:
        """Return the handle of a task by its id; with *task* its result gets that task's type."""
        return Job(check_id(id), self, task)

    async def status(self, id: str) -> TaskStatus | None:
        """Return what is known about a task, from any process; None for an unknown id."""
        runtime = self._made or self._runtime
        until = runtime.until()
        lane = await runtime.lane(until)
        return await reading.status_of(lane, check_id(id), until, check=runtime.check_result)

    async def list(
        self,
        *,
        states: Iterable[State | str] = (),
        tasks: Iterable[str] = (),
        queues: Iterable[str] = (),
        meta: Mapping[str, Any] | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> StatusPage:
        """Return what the result backend remembers, the latest first, *limit* at a time.

        All conditions hold at once, and one that is not given always does. With a
        backend that is another store than the broker these are the tasks that have
        ended; what still waits is found by its id.

        Args:
            states, tasks, queues: any of these.
            meta: each of these keys has this value in the meta of the call.
            limit: the most on one page.
            cursor: of the page before; None for the first.

        Raises:
            NoResultBackend, CapabilityMissing: there is no backend, or it cannot list.
            InvalidOption: no such state; a text where several belong; no limit.
        """
        where = listing.condition(states=states, tasks=tasks, queues=queues, meta=meta)
        runtime = self._made or self._runtime
        until = runtime.until()
        lane = await runtime.lane(until)
        return await listing.page_of(lane, where, limit=limit, cursor=cursor, until=until)

    async def result(self, id: str, timeout: Duration | None = None) -> Any:
        """Return what a task returned, as JSON values, waiting for up to *timeout*.

        For the type that a task declares, ask its `Job`.

        Raises:
            TaskFailed, TaskCancelled, ResultTimeout, ResultExpired, NoResultBackend: see `Job`.
        """
        return await self._read(check_id(id), None, timeout)

    async def cancel(self, id: str, reason: str = "") -> CancelStatus:
        """Ask that a task does not run, or stops.

        `CANCELLED`: it waited, and has ended now. `REQUESTED`: it runs, and its worker
        will be told. `FINISHED` and `UNKNOWN` change nothing.

        Raises:
            CapabilityMissing: this broker cannot cancel.
        """
        runtime, ttl_ms = self._made or self._runtime, self.config.failure_ttl_ms
        now_ms, until = runtime.clock.wall_ms(), runtime.until()
        lane = await runtime.lane(until)
        status = await reading.cancel(
            lane, check_id(id), reason, now_ms=now_ms, ttl_ms=ttl_ms, until=until
        )
        if status is CancelStatus.REQUESTED:
            writer = ControlWriter(self.config.namespace, self.pipeline.signer, clock=runtime.clock)
            await tell_workers(lane.broker.control, writer, id)
        return status

    async def _read(self, id: str, task: AnyTask | None, timeout: Duration | None) -> Any:
        runtime = self._made or self._runtime
        record = await reading.wait_for(await runtime.lane(), id, timeout)
        runtime.check_result(record)
        value = reading.value_of(record)
        return value if task is None else task.binding.result_from_wire(value)

    @property
    def blocking(self) -> BlockingStem:
        """The same verbs for code without an event loop."""
        return BlockingStem(self)

    # ── tests ──

    def override(
        self,
        *,
        broker: Broker | StemURL | str = "memory://",
        backend: GivenBackend | str = "memory://",
        signer: GivenSigner | str = UNSET,
        clock: Clock | None = None,
        dice: Dice | None = None,
    ) -> Override:
        """Return a context in which this Stem, and every task of it, uses other stores.

        For tests, also of modules that made their Stem at import: the whole path, with
        nothing short-circuited, on a private store in memory that is gone afterwards.
        """
        # Here and not above: what only tests need, a program need not load.
        from stem_core.producer.override import Override

        wiring = evolve(
            self._wiring,
            broker=parsed(broker, "broker"),
            backend=parsed(backend, "backend"),
            signer=self._wiring.signer if signer is UNSET else parsed(signer, "signer"),
            clock=clock or self._wiring.clock,
            dice=dice or self._wiring.dice,
        )
        return Override(self, wiring)

    # ── its end ──

    async def aclose(self) -> None:
        """Close what is connected; idempotent. A Stem that is used again connects again."""
        if self._made is not None:
            await self._made.lanes.aclose()

    def close(self) -> None:
        """`aclose` for code without an event loop.

        Raises:
            UseAwait: inside a running event loop.
        """
        blocking.refuse_in_loop()
        if self._made is not None and self._made.lanes.loops:
            blocking.run(self.aclose())

    @asynccontextmanager
    async def lifespan(self, app: object = None) -> AsyncIterator[None]:
        """Open and close with an ASGI application: ``FastAPI(lifespan=stem.lifespan)``."""
        async with self:
            yield

    async def __aenter__(self) -> Self:
        await self.lane()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        broker = self._wiring.broker
        if isinstance(broker, StemURL):
            return f"Stem({broker.redacted()!r})"
        return f"Stem({'' if broker is None else type(broker).__name__})"

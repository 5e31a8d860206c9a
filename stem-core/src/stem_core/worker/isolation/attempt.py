"""One task at a time, in a child: its function is called and comes out as data.

Rule of this module: a plain function runs in the main thread with no event loop around
it, a coroutine in the one loop of the child; so both find what they would find in a program
of their own.
"""

from __future__ import annotations

import asyncio
import contextvars
from functools import partial
from typing import Any, Final

from stem_core.contracts.messages import Delivery, Message, Settlement
from stem_core.model.codec import MAX_BODY, decode
from stem_core.model.errors import InvalidArguments
from stem_core.model.outcome import Reason
from stem_core.producer.client import Stem
from stem_core.producer.context import CURRENT, TaskContext
from stem_core.producer.sealing import sealer
from stem_core.worker.isolation.birth import rss
from stem_core.worker.isolation.interrupting import Interrupting
from stem_core.worker.isolation.link import Link
from stem_core.worker.isolation.wire import Ended, Mark, Progressed, Published, Rules, Start
from stem_core.worker.limits import Softened
from stem_core.worker.outcomes import Outcome, Returned
from stem_core.worker.plans import Plan, Plans
from stem_core.worker.reckoning import Reckoning
from stem_core.worker.run import Run
from stem_core.worker.sinks import Outlet

__all__ = ["Bench"]


def _unknown() -> int:
    """Return what nobody asks for, without the 20 µs that it costs."""
    return 0


class Bench:
    """Runs the tasks of one child, in its main thread, each to its outcome.

    Args:
        mark: where the worker finds which task was begun last, if this process dies.
    """

    def __init__(self, stem: Stem, rules: Rules, link: Link, mark: Mark) -> None:
        config, pipeline = stem.config, stem.pipeline
        self._link = link
        self._mark = mark
        self._rss = rss if rules.weighs else _unknown
        self._clock = stem.clock
        self._plans = Plans(stem.registry, pipeline.defaults)
        self._outlet = Outlet(stem, self._progressed, self._published)
        self._loop = asyncio.Runner()
        self._reckoning = Reckoning(
            rules.books,
            stem.clock,
            max_payload=rules.max_payload,
            seal=sealer(config.signing_results, pipeline.signer, config.namespace),
        )
        self.interrupting: Final = Interrupting(link)

    def run(self, start: Start) -> Ended:
        """Run one task; return how it came out."""
        run = self._made(start.delivery, start.started_ms)
        with self.interrupting.of(start.serial, run):
            self._mark.value = start.serial
            outcome = self._attempt(run)
        assert run.context is not None  # made with it
        is_completed = outcome is run.completed
        follow_ups = tuple(run.context.follow_ups)
        return Ended.of(outcome, follow_ups=follow_ups, is_completed=is_completed, rss=self._rss())

    def close(self) -> None:
        """End the loop and what still runs in it."""
        self._loop.close()

    def succeeded(self, run: Run, value: object) -> tuple[Returned, Settlement]:
        """See `Reckoning.succeeded`."""
        return self._reckoning.succeeded(run, value)

    def _made(self, delivery: Delivery, started_ms: int) -> Run:
        run = Run(delivery, self._outlet, self._clock.monotonic_ms())
        body = delivery.message.body
        run.envelope = decode(body, max_bytes=max(MAX_BODY, len(body)))  # the worker verified it
        run.plan = self._plans.of(run.envelope)
        run.context = TaskContext(run.envelope, delivery, run)
        run.runner, run.started_ms = self, started_ms
        return run

    def _attempt(self, run: Run) -> Outcome:
        plan, envelope = run.plan, run.envelope
        assert plan is not None  # the worker asks for nothing that is not registered here
        assert envelope is not None
        try:
            arguments = plan.task.binding.from_wire(envelope.args)
        except InvalidArguments as error:
            return self._reckoning.refused(run, Reason.ARGUMENTS_MISMATCH, error)
        try:
            value = self._called(run, plan, arguments)
        except BaseException as error:  # whatever a task raises is its outcome
            return self._reckoning.raised(run, error)
        return run.completed or self._reckoning.returned(run, plan, value)

    def _called(self, run: Run, plan: Plan, arguments: dict[str, Any]) -> object:
        task, around = plan.task, contextvars.copy_context()
        around.run(CURRENT.set, run.context)
        function = partial(task.fn, run.context) if task.wants_context else task.fn
        if task.is_async:
            return self._loop.run(self._awaited(function(**arguments)), context=around)
        with self.interrupting.striking():
            return around.run(function, **arguments)

    async def _awaited(self, coroutine: Any) -> object:
        softened = Softened(coroutine)
        with self.interrupting.cancelling(softened):
            return await softened

    def _progressed(self, id: str, fence: int, value: bytes) -> None:
        self._link.send(Progressed(value))

    def _published(self, run: Run, message: Message) -> None:
        # Noted here too: a task that settles itself settles this with it.
        run.published_now = {**(run.published_now or {}), message.id: message}
        self._link.send(Published(message))

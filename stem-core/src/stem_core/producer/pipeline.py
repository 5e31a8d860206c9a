"""The one publish pipeline, validate → route → middleware → encode → sign, and its mirror:
verify → decode → compare.

Rule of this module: every new envelope goes through `Pipeline.prepare`, whoever makes
it (client, task, schedule), and every delivered one through `Pipeline.open_message`.
No I/O, so neither ever waits.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final

import msgspec
from attrs import frozen

from stem_core.contracts.capabilities import Capabilities
from stem_core.contracts.clock import SYSTEM_CLOCK, SYSTEM_DICE, Clock, Dice
from stem_core.contracts.hookspecs import Middleware
from stem_core.contracts.messages import Message, UniqueKey
from stem_core.contracts.signer import Signer
from stem_core.model.codec import decode, encode
from stem_core.model.envelope import Envelope
from stem_core.model.errors import (
    InvalidOption,
    MalformedEnvelope,
    NotEncodable,
    SignatureInvalid,
    StemError,
)
from stem_core.model.frame import Frame
from stem_core.model.ids import uuid7
from stem_core.model.options import NOTHING_GIVEN, Defaults, Effective, TaskOptions, Unique, resolve
from stem_core.model.seal import TASK
from stem_core.model.settings import StemConfig
from stem_core.model.value import replace
from stem_core.producer.built import check_built, check_capabilities, check_unique
from stem_core.producer.how import PLAINLY
from stem_core.producer.prepared import Plain, Prepared
from stem_core.producer.registry import TaskRegistry
from stem_core.producer.routes import Routes
from stem_core.producer.tasks import Call
from stem_core.producer.vetting import SigningPolicy, vet

__all__ = ["Pipeline"]

_DEDUPE_CHOSEN_MS: Final = 600_000
_MOST_PLANS: Final = 4096
_MILLISECOND: Final = timedelta(milliseconds=1)
_sorted_json: Final = msgspec.json.Encoder(order="sorted").encode


@frozen(slots=False, kw_only=True)
class Plan:
    """What all calls of one task with the same options have in common.

    Attributes:
        effective: every question about options answered.
        envelope: with the fields that they share; those of one call are empty.
        message: of a call that says nothing more, all but its id, its body and its seal.
        frame: writes the body of such a call; None when there is more to work out for each.
    """

    effective: Effective
    envelope: Envelope
    message: Message
    frame: Frame | None


class Pipeline:
    """Makes messages of calls, and envelopes of messages.

    Attributes:
        namespace: of everything it makes and accepts.
        defaults: what holds when neither call nor registration says.
        signer: who vouches; None for nobody. With one, a message that nobody signed is refused.
        routes: queues by pattern of task names.
        capabilities: of the broker; None before it is known.
    """

    def __init__(
        self,
        config: StemConfig,
        registry: TaskRegistry,
        *,
        routes: Routes | None = None,
        middleware: Sequence[Middleware] = (),
        signer: Signer | None = None,
        clock: Clock = SYSTEM_CLOCK,
        dice: Dice = SYSTEM_DICE,
    ) -> None:
        self.namespace: Final = config.namespace
        self.defaults: Final = Defaults(
            queue=config.default_queue,
            max_retries=config.default_max_retries,
            lease_ms=config.default_visibility_timeout_ms,
        )
        self.signer: Final = signer
        self.routes: Final = Routes(config.routes) if routes is None else routes
        self.capabilities: Capabilities | None = None
        self._registry = registry
        self._middleware = tuple(middleware)
        self._wall_ms = clock.wall_ms
        self._random = dice.bytes
        self._dedupe_ms = 2 * config.publish_deadline_ms
        self._max_bytes = self._max_body = config.max_payload
        self._max_lapses = config.max_lapses
        self._version = registry.version
        self._plans: dict[str, Plan] = {}
        self._rare_plans = lru_cache(maxsize=512)(self._make_plan)

    def serve(self, capabilities: Capabilities) -> None:
        """Take note of what the broker can do; from now on every call is held against it."""
        if capabilities != self.capabilities:
            self.capabilities = capabilities
            self._max_body = min(self._max_bytes, capabilities.max_payload)
            self.forget()

    def forget(self) -> None:
        """Forget what was concluded about options: a task was registered, a broker opened."""
        self._version = self._registry.version
        self._plans.clear()
        self._rare_plans.cache_clear()

    # ── a call becomes a message ──

    def prepare(
        self,
        call: Call[Any],
        *,
        task_id: str | None = None,
        parent: str | None = None,
        root: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> Message:
        """Return the sealed message of *call*.

        *task_id* and *headers* are what its parent gives it; headers of the call win.

        Raises:
            EnqueueError: the call is refused.
            CapabilityMissing: an option that this release or this broker does not have.
        """
        plan, how, now_ms = self.plan(call.name, call.given), call.how, self._wall_ms()
        if how is PLAINLY and task_id is None and (frame := plan.frame) is not None:
            text = frame.text(call.args, self._max_body)
            if text is not None:
                id = uuid7(now_ms, self._random(10))
                return self._sealed(id, frame.body(id, now_ms, text), plan.message)
        chosen_id = task_id or how.task_id
        shared = plan.envelope
        envelope = Envelope(
            id=chosen_id or uuid7(now_ms, self._random(10)),
            task=shared.task,
            namespace=shared.namespace,
            queue=shared.queue,
            enqueued_at_ms=now_ms,
            args=call.args,
            priority=shared.priority,
            options=shared.options,
        )
        envelope = replace(
            envelope,
            headers={**(headers or {}), **(how.headers or {})},
            meta=how.meta or {},
            not_before_ms=how.not_before_ms,
            delay_ms=how.delay_ms,
            expires_at_ms=_expires_at(plan.effective, now_ms),
            parent=parent,
            root=root,
        )
        envelope, plan = self._through_middleware(envelope, plan)
        is_chosen = chosen_id is not None
        self._check_this_call(envelope, plan.effective, is_chosen)
        return self._seal(envelope, self._routing(envelope, plan, is_chosen=is_chosen), plan)

    def prepare_all(self, calls: Sequence[Call[Any]]) -> Prepared:
        """Return the messages of *calls*, once none of them is refused.

        Most are only checked here, and made when they are asked for: the store may be at the
        first of them meanwhile.

        Raises:
            EnqueueError, CapabilityMissing: as `prepare`, with a note that says which call it is.
        """
        checked: list[Message | Plain] = []
        check = self._checked if self.signer is None else self.prepare  # what signs may fail
        for place, call in enumerate(calls):
            try:
                checked.append(check(call))
            except StemError as error:
                error.add_note(f"call {place} of enqueue_many; none of them was published")
                raise
        return Prepared(checked, self._wall_ms(), self._random)

    def _checked(self, call: Call[Any]) -> Message | Plain:
        """Return what is left to make of *call*, and cannot fail any more."""
        plan = self.plan(call.name, call.given)
        if call.how is PLAINLY and (frame := plan.frame) is not None:
            text = frame.text(call.args, self._max_body)
            if text is not None:
                return plan.message, frame, text
        return self.prepare(call)

    def plan(self, name: str, given: TaskOptions) -> Plan:
        """Return what all calls of task *name* with these options have in common."""
        if self._version != self._registry.version:
            self.forget()
        if given is not NOTHING_GIVEN:
            return self._rare_plans(name, given)
        plan = self._plans.get(name)
        if plan is None:
            plan = self._make_plan(name, given)
            if len(self._plans) >= _MOST_PLANS:  # names may come from strangers
                self._plans.clear()
            self._plans[name] = plan
        return plan

    def _make_plan(self, name: str, given: TaskOptions) -> Plan:
        task = self._registry.get(name)
        registered = task.options if task is not None else NOTHING_GIVEN
        asked = given.over(registered)
        check_built(asked, is_async=None if task is None else task.is_async)
        if task is not None and isinstance(asked.unique, Unique):
            check_unique(asked.unique, task.binding.names, label=name)
        effective = resolve(given, registered, self.defaults, self.routes.queue_of(name))
        if self.capabilities is not None:
            check_capabilities(effective, self.capabilities)
        envelope = Envelope(
            id="",
            task=name,
            namespace=self.namespace,
            queue=effective.queue,
            enqueued_at_ms=0,
            priority=effective.priority,
            options=asked.given(),
        )
        has_end = effective.expires_ms is not None or effective.expires_at_ms is not None
        has_more = has_end or effective.unique is not None or bool(self._middleware)
        return Plan(
            effective=effective,
            envelope=envelope,
            message=Message(
                id="",
                queue=effective.queue,
                task=name,
                body=b"",
                priority=effective.priority,
                lease_ms=effective.lease_ms,
                max_lapses=self._max_lapses,
                dedupe_for_ms=self._dedupe_ms,
            ),
            frame=None if has_more else Frame(envelope),
        )

    def _routing(self, envelope: Envelope, plan: Plan, *, is_chosen: bool) -> Message:
        """Return the message of *envelope*, all but its id, its body and its seal."""
        unique = plan.effective.unique
        return replace(
            plan.message,
            queue=envelope.queue,
            task=envelope.task,
            priority=envelope.priority,
            delay_ms=envelope.delay_ms or 0,
            not_before_ms=envelope.not_before_ms or 0,
            expires_at_ms=envelope.expires_at_ms or 0,
            dedupe_for_ms=_DEDUPE_CHOSEN_MS if is_chosen else self._dedupe_ms,
            unique=None if unique is None else self._unique_key(unique, envelope),
        )

    def _unique_key(self, unique: Unique, envelope: Envelope) -> UniqueKey:
        if self._registry.get(envelope.task) is None:
            # Nobody here knows its parameters. A name that this call does not give may be
            # mistyped, and then all calls of the task would share one key.
            check_unique(unique, tuple(envelope.args), label=f"this call of {envelope.task}")
        return unique_key(unique, envelope)

    def _seal(self, envelope: Envelope, routing: Message, plan: Plan) -> Message:
        # What a plan says was given as TaskOptions, which are checked where they are made.
        body = encode(envelope, max_bytes=self._max_body, checked=plan.envelope.options)
        return self._sealed(envelope.id, body, routing)

    def _sealed(self, id: str, body: bytes, routing: Message) -> Message:
        if self.signer is None:
            return replace(routing, id=id, body=body)
        seal = self.signer.sign(TASK, body)
        return replace(
            routing,
            id=id,
            body=body,
            key_id=seal.key_id,
            algorithm=seal.algorithm,
            signature=seal.signature,
        )

    def _through_middleware(self, envelope: Envelope, plan: Plan) -> tuple[Envelope, Plan]:
        if not self._middleware:
            return envelope, plan
        # A copy: all calls of this plan share the original.
        before = envelope = replace(envelope, options=dict(envelope.options))
        for each in self._middleware:
            changed = each.on_enqueue(envelope)
            if not isinstance(changed, Envelope):
                raise InvalidOption(
                    f"middleware {type(each).__qualname__}.on_enqueue returned no Envelope, "
                    f"but {type(changed).__name__}",
                    way_out="Return the envelope, or a changed copy of it.",
                )
            envelope = changed
        if envelope.options == plan.envelope.options:
            return envelope, plan
        try:
            asked = TaskOptions.from_given(envelope.options)
        except MalformedEnvelope as error:
            raise InvalidOption(f"middleware: {error.message}") from error
        plan = self.plan(envelope.task, asked)
        return _following(plan.effective, envelope, before), plan

    def _check_this_call(self, envelope: Envelope, effective: Effective, is_chosen: bool) -> None:
        if self.capabilities is not None:
            check_capabilities(
                effective,
                self.capabilities,
                delay_ms=envelope.delay_ms or 0,
                is_scheduled=bool(envelope.not_before_ms),
                has_chosen_id=is_chosen,
            )

    # ── a message becomes an envelope ──

    def open_message(self, message: Message, policy: SigningPolicy | None = None) -> Envelope:
        """Return the envelope in *message*, verified first, parsed second, compared third.

        Without *policy* a signature is required as soon as there is a signer.

        Raises:
            SignatureMissing, SignatureInvalid: nobody vouches for it, or for where it was
                found, or the key that does may not.
            UnsupportedVersion: a newer release wrote it.
            MalformedEnvelope: it is none, or nothing was verified and it was found where
                it does not belong.
        """
        is_vouched_for = vet(self.signer, policy, message)
        envelope = decode(message.body, max_bytes=self._max_bytes)
        if (
            message.id != envelope.id
            or message.task != envelope.task
            or message.queue != envelope.queue
            or message.priority != envelope.priority
            or message.expires_at_ms != (envelope.expires_at_ms or 0)
            or message.not_before_ms != (envelope.not_before_ms or 0)
            or envelope.namespace != self.namespace
            or envelope.options.get("visibility_timeout_ms", message.lease_ms) != message.lease_ms
        ):
            raise _misrouted(message, envelope, self.namespace, is_signed=is_vouched_for)
        if is_vouched_for and self.signer is not None:
            self.signer.check_scope(message.key_id, task=envelope.task, queue=envelope.queue)
        return envelope


def _expires_at(effective: Effective, now_ms: int) -> int | None:
    if effective.expires_ms is not None:
        return now_ms + effective.expires_ms
    return effective.expires_at_ms


def _following(effective: Effective, envelope: Envelope, before: Envelope) -> Envelope:
    """Return *envelope* with what changed options say, where its own fields were left alone."""
    meant = {
        "queue": effective.queue,
        "priority": effective.priority,
        "expires_at_ms": _expires_at(effective, before.enqueued_at_ms),
    }
    alone = [name for name in meant if getattr(envelope, name) == getattr(before, name)]
    return replace(envelope, **{name: meant[name] for name in alone})


def unique_key(unique: Unique, envelope: Envelope) -> UniqueKey:
    """Return the claim of *envelope*: its task and its arguments as given, nothing else.

    Headers and meta take no part, so that tracing never makes two calls differ.
    """
    args = envelope.args
    if unique.by is not None:
        args = {name: args[name] for name in unique.by if name in args}
    try:
        text = _sorted_json(args)
    except (ValueError, TypeError, RecursionError) as error:
        raise NotEncodable(f"args: unique cannot compare them: {error}") from None
    window_ms = unique.window // _MILLISECOND if unique.window is not None else 0
    key = f"{envelope.task}:{sha256(text).hexdigest()}"
    return UniqueKey(key=key, until=unique.until, window_ms=window_ms)


def _misrouted(
    message: Message, envelope: Envelope, namespace: str, *, is_signed: bool
) -> StemError:
    pairs = {
        "id": (message.id, envelope.id),
        "task": (message.task, envelope.task),
        "queue": (message.queue, envelope.queue),
        "priority": (message.priority, envelope.priority),
        "expires_at_ms": (message.expires_at_ms, envelope.expires_at_ms or 0),
        "not_before_ms": (message.not_before_ms, envelope.not_before_ms or 0),
        "lease_ms": (
            message.lease_ms,
            envelope.options.get("visibility_timeout_ms", message.lease_ms),
        ),
        "namespace": (namespace, envelope.namespace),
    }
    different = "; ".join(
        f"{name} is {found!r:.80}, and {meant!r:.80} inside"
        for name, (found, meant) in pairs.items()
        if found != meant
    )
    told = f"the message was not found where its envelope belongs: {different}"
    way_out = "Somebody with access to the broker moved it, or two namespaces share a queue."
    if is_signed:
        return SignatureInvalid(told, way_out=way_out, why="moved")
    return MalformedEnvelope(told, way_out=way_out)

"""The machine: random steps at a store, each compared with the model.

Rule of this module: a rule draws and calls; what a step does is in `comparison`. The first
of each choice is the plainest, so that a failure shrinks to it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Final, Literal, cast

import hypothesis
from attrs import evolve
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from stem_core.contracts.messages import Delivery, Place, Settlement
from stem_core.testing.model.bench import StageFactory
from stem_core.testing.model.comparison import Comparison
from stem_core.testing.model.drafts import IDS, OUTCOMES, QUEUES, Draft, End
from stem_core.testing.model.reference import Reference

__all__ = ["RUN", "BrokerMachine", "run_model"]

RUN: Final = hypothesis.settings(
    max_examples=100,
    stateful_step_count=40,
    deadline=None,
    print_blob=True,
    # Without the phase that explains: it takes longer than finding and shrinking together.
    phases=(Phase.explicit, Phase.reuse, Phase.generate, Phase.target, Phase.shrink),
    suppress_health_check=(HealthCheck.too_slow, HealthCheck.filter_too_much),
)
"""What a run is unless its caller says otherwise. A slow store is no failure, and on a real
clock a step that took too long to mean anything is thrown away."""


def run_model(factory: StageFactory, *, settings: hypothesis.settings = RUN) -> None:
    """Compare the stores that *factory* opens, a fresh one at each call, with the model.

    Raises:
        AssertionError: a store did something else than the model; the shortest way to it
            that was found is printed as a program, with a line that runs it again.
        TypeError: *factory* gave no `Stage` with a broker.
    """
    run_state_machine_as_test(BrokerMachine.for_stage(factory), settings=settings)


# ── what is drawn ────────────────────────────────────────────────────────────

Hand = Sequence[Delivery]
"""What one fetch gave: never empty."""

Span = Literal["a unit", "two units", "1 ms", "to the next moment", "to just before it"]
SPANS: Final[tuple[Span, ...]] = (
    "a unit", "two units", "1 ms", "to the next moment", "to just before it",
)  # fmt: skip
"""How far time passes. On a real clock, which obeys nobody, each of the last three is a unit."""

Trouble = Literal["a pause", "a crash", "a small purge", "a purge"]
TROUBLES: Final[tuple[Trouble, ...]] = ("a pause", "a crash", "a small purge", "a purge")

LIVE: Final = tuple(place for place in Place if place is not Place.DEAD)
HANDLE: Final = st.sampled_from((0, 1))
QUEUE: Final = st.sampled_from(QUEUES)
SOME_QUEUES: Final = st.permutations(QUEUES) | st.sampled_from([[name] for name in QUEUES])
UNITS: Final = st.sampled_from((1, 2))
OFTEN: Final = st.sampled_from((False, True))
RARELY: Final = st.sampled_from((False, False, False, True))


def ids(*places: Place) -> st.SearchStrategy[str]:
    """Ids of messages in *places*, or as well any others."""
    return st.runner().flatmap(lambda machine: st.sampled_from([*machine.at.ids_in(*places), *IDS]))


NEW_ID: Final = st.runner().flatmap(lambda machine: st.sampled_from([*machine.at.new_ids(), *IDS]))
"""Ids of messages to be: of new ones, or as well any others."""

PLAIN: Final = st.builds(
    Draft,
    id=NEW_ID,
    queue=QUEUE,
    priority=st.sampled_from((0, 0, 9)),
    lease=UNITS,
)
"""Messages that are ready at once."""

RICH: Final = st.builds(
    Draft,
    id=NEW_ID,
    queue=QUEUE,
    body=st.sampled_from((0, 0, 0, 1)),
    priority=st.sampled_from((0, 0, 5)),
    wait=st.sampled_from((0, 0, 1, 1, 2)),
    is_instant=OFTEN,
    key=st.sampled_from((None, None, "finished", "finished", "started", "window")),
    forget=st.sampled_from((2, 1)),
)
"""Messages that wait, or meet another one: by id, by key, or at one instant."""

END: Final = st.builds(
    End,
    # Most comes after a dead letter: often enough that it is replayed.
    outcome=st.sampled_from((*OUTCOMES, "dead letter", "dead letter", "retry now")),
    with_error=OFTEN,
    with_record=OFTEN,
    follow_ups=st.just(()) | st.lists(RICH, max_size=2),
)


def needs(*capabilities: str) -> Callable[[Any], Any]:
    """Leave a rule out unless the broker declares all of *capabilities*."""
    return precondition(lambda machine: all(machine.at.has(each) for each in capabilities))


def where(is_worth_it: Callable[[Reference], object]) -> Callable[[Any], Any]:
    """Leave a rule out while nothing could come of it: long runs shall be busy ones."""
    return precondition(lambda machine: bool(is_worth_it(machine.at.model)))


# ── the rules ────────────────────────────────────────────────────────────────


class BrokerMachine(RuleBasedStateMachine):
    """One run at a fresh stage. Use `for_stage`, or `run_model`."""

    factory: ClassVar[Any]

    hands = Bundle("hands")
    settled = Bundle("settled")

    @classmethod
    def for_stage(cls, factory: StageFactory) -> type[BrokerMachine]:
        """Return a machine at the stages that *factory* opens; its `TestCase` is for unittest
        and pytest."""
        machine = type("BrokerMachine", (cls,), {"factory": staticmethod(factory)})
        cast(Any, machine).TestCase.settings = RUN
        return machine

    def __init__(self) -> None:
        super().__init__()
        self.at = Comparison(self.factory)

    def teardown(self) -> None:
        try:
            if self.at.is_sound:
                self.at.drain()
        finally:
            self.at.close()

    @invariant()
    def both_show_the_same(self) -> None:
        self.at.check()

    # ── producers ────────────────────────────────────────────────────────────

    @rule(drafts=st.lists(PLAIN, min_size=1, max_size=3), handle=HANDLE)
    def publish(self, drafts: list[Draft], handle: int) -> None:
        self.at.publish(drafts, handle)

    @rule(drafts=st.lists(RICH, min_size=1, max_size=3), is_sent_again=OFTEN, handle=HANDLE)
    def publish_with_options(self, drafts: list[Draft], is_sent_again: bool, handle: int) -> None:
        self.at.publish(drafts, handle, is_sent_again=is_sent_again)

    # ── workers ──────────────────────────────────────────────────────────────

    @where(lambda model: model.lives)
    @rule(target=hands, queues=SOME_QUEUES, limit=st.sampled_from((1, 2, 10)), handle=HANDLE)
    def fetch(self, queues: list[str], limit: int, handle: int) -> Any:
        return self.at.fetch(queues, limit, handle) or multiple()

    @where(lambda model: model.lives)
    @rule(target=hands, handle=HANDLE)
    def fetch_everything(self, handle: int) -> Any:
        return self.at.fetch(QUEUES, 100, handle) or multiple()

    @where(lambda model: model.may_be_next(QUEUES))
    @rule(
        target=settled,
        queues=SOME_QUEUES,
        ends=st.lists(END, min_size=1, max_size=3),
        handle=HANDLE,
    )
    def work(self, queues: list[str], ends: list[End], handle: int) -> Any:
        """Take one after the other and settle each."""
        sent: list[Settlement] = []
        for end in ends:
            hand = self.at.fetch(queues, 1, handle)
            self.at.check()
            sent += self.at.settle(hand, [end] * len(hand), handle)
            self.at.check()
        return multiple(*sent)

    @rule(
        target=settled,
        hand=consumes(hands),
        first=END,
        others=END,
        is_overtaken=RARELY,
        is_sent_twice=OFTEN,
        handle=HANDLE,
    )
    def settle(
        self,
        hand: Hand,
        first: End,
        others: End,
        is_overtaken: bool,
        is_sent_twice: bool,
        handle: int,
    ) -> Any:
        """Settle a hand in one call; when overtaken, somebody has saved a newer record."""
        if is_overtaken and self.at.has("records"):
            self.at.overtake(hand[0].receipt)
            self.at.check()
            first = evolve(first, with_record=True)
        ends = [first, *[others] * (len(hand) - 1)]
        return multiple(*self.at.settle(hand, ends, handle, times=1 + is_sent_twice))

    @rule(settlement=settled, end=st.none() | END, units=UNITS, handle=HANDLE)
    def use_a_receipt_again(
        self, settlement: Settlement, end: End | None, units: int, handle: int
    ) -> None:
        """Settle again, as after a lost reply; or extend, and settle in another way."""
        if end is not None:
            self.at.extend([settlement.receipt], units, handle)
            self.at.check()
        self.at.settle_again(settlement, end, handle)

    @rule(hand=hands, units=UNITS, handle=HANDLE)
    def extend(self, hand: Hand, units: int, handle: int) -> None:
        self.at.extend([each.receipt for each in hand], units, handle)

    # ── time and trouble ─────────────────────────────────────────────────────

    @precondition(lambda machine: not machine.at.is_idle)
    @rule(span=st.sampled_from(SPANS))
    def time_passes(self, span: Span) -> None:
        self.at.let_pass(self.length_of(span))

    def length_of(self, span: Span) -> int:
        """Return *span* in milliseconds."""
        unit_ms = self.at.stage.unit_ms
        next_ms = self.at.next_moment_ms() or unit_ms
        if span == "two units":
            return 2 * unit_ms
        if span == "a unit" or self.at.stage.is_real:
            return unit_ms
        return {"1 ms": 1, "to the next moment": next_ms}.get(span, next_ms - 1)

    @where(lambda model: model.lives)
    @rule(what=st.sampled_from(TROUBLES), queue=QUEUE)
    def trouble(self, what: Trouble, queue: str) -> None:
        """A process dies, or an operator steps in; nothing, where the broker cannot do that."""
        if what == "a crash":
            self.at.bench.crash()
        elif what == "a pause" and self.at.has("admin") and self.at.has("pause"):
            self.at.pause_or_resume(queue)
        elif what.endswith("purge") and self.at.has("admin") and self.at.has("cancel"):
            self.at.purge(queue, 1 if what == "a small purge" else 500)

    @needs("cancel")
    @where(lambda model: model.lives)
    @rule(ids=st.lists(ids(*LIVE), min_size=1, max_size=2), with_record=OFTEN, handle=HANDLE)
    def cancel(self, ids: list[str], with_record: bool, handle: int) -> None:
        self.at.cancel(ids, handle, with_record=with_record)

    @needs("admin", "dead_letters")
    @where(lambda model: model.dead_letters())
    @rule(ids=st.lists(ids(Place.DEAD), min_size=1, max_size=2))
    def replay(self, ids: list[str]) -> None:
        self.at.replay(ids)

    @needs("admin", "dead_letters")
    @where(lambda model: model.dead_letters())
    @rule(ids=st.lists(ids(Place.DEAD), min_size=1, max_size=2))
    def discard(self, ids: list[str]) -> None:
        self.at.discard(ids)

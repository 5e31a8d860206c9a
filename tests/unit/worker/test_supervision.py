"""What a supervisor decides, on a clock that the test turns."""

from __future__ import annotations

import signal
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stem_core.testing.clock import LoadedDice
from stem_core.worker.exits import DRAINED, GAVE_UP, HANDED_BACK, MARGIN_MS, STUCK
from stem_core.worker.supervision import (
    Await,
    Crew,
    GiveUp,
    History,
    Life,
    Order,
    Restart,
    Start,
    Tell,
    Word,
    ending,
    merged,
    pause_ms,
    word_of,
)

CONFIG, UNREACHABLE = 4, 5
KILLED, TERMINATED = -signal.SIGKILL, -signal.SIGTERM
GRACE_MS = 30_000
LONG_MS = 60_000


class Scene:
    """A crew, the time, and what it has ordered so far."""

    def __init__(self, size: int = 3, roll: float = 0.0, *, reloads: bool = False) -> None:
        self.now_ms = 1_000
        self.orders: list[Order] = []
        self.crew = Crew(
            size,
            hopeless=frozenset({2, 3, CONFIG}),
            outage=frozenset({UNREACHABLE}),
            roll=LoadedDice([roll]).roll,
            reloads=reloads,
        )
        self.note(self.crew.begin())

    def note(self, orders: Sequence[Order]) -> list[Order]:
        self.orders += orders
        return list(orders)

    def ready(self, *slots: int, grace_ms: int = GRACE_MS) -> list[Order]:
        return [
            order
            for slot in slots
            for order in self.note(self.crew.ready(slot, grace_ms, self.now_ms))
        ]

    def ended(self, slot: int, code: int) -> list[Order]:
        return self.note(self.crew.ended(slot, code, self.now_ms))

    def signalled(self) -> list[Order]:
        return self.note(self.crew.signalled(self.now_ms))

    def replaces(self, slot: int) -> list[Order]:
        return self.note(self.crew.replaces(slot, self.now_ms))

    def changed(self) -> list[Order]:
        return self.note(self.crew.changed(self.now_ms))

    def later(self, by_ms: int) -> list[Order]:
        self.now_ms += by_ms
        return self.note(self.crew.passed(self.now_ms))

    def restart(self, slot: int, code: int) -> int:
        """Let *slot* end and start again; return the pause."""
        (order,) = self.ended(slot, code)
        assert isinstance(order, Restart)
        assert self.later(order.pause_ms) == [Start(slot)]
        return order.pause_ms

    def gives_up(self, slot: int, code: int) -> GiveUp:
        """Let *slot* end, as the last straw."""
        despair = self.ended(slot, code)[0]
        assert isinstance(despair, GiveUp)
        return despair


def working(size: int = 3, *, reloads: bool = False) -> Scene:
    """Return a scene where all processes work."""
    scene = Scene(size, reloads=reloads)
    scene.ready(*range(1, size + 1))
    return scene


# ── the start ────────────────────────────────────────────────────────────────


def test_the_first_process_starts_alone_and_the_others_when_it_works():
    scene = Scene(3)
    assert scene.orders == [Start(1)]
    assert scene.ready(1) == [Start(2), Start(3)]
    assert scene.ready(2) == []


@pytest.mark.parametrize("code", [2, 3, CONFIG])
def test_what_no_restart_mends_ends_the_worker_with_that_code(code):
    scene = Scene()
    assert scene.gives_up(1, code).code == code
    assert scene.crew.code == code


def test_it_ends_the_worker_too_when_it_is_not_the_first_that_says_so():
    scene = Scene()
    scene.ready(1)
    assert scene.gives_up(2, CONFIG).code == CONFIG
    assert Tell(1, Word.DRAIN) in scene.orders
    assert Tell(3, Word.DRAIN) in scene.orders
    assert scene.crew.code is None  # there are others still
    scene.ended(1, DRAINED)
    scene.ended(3, TERMINATED)
    assert scene.crew.code == CONFIG


def test_a_configuration_that_once_was_right_may_be_right_again():
    scene = working()
    scene.restart(2, KILLED)
    scene.restart(2, CONFIG)
    assert scene.crew.code is None


# ── one that ends by itself ──────────────────────────────────────────────────


@pytest.mark.parametrize("code", [DRAINED, 1, UNREACHABLE, STUCK, HANDED_BACK, KILLED, TERMINATED])
def test_one_that_ends_by_itself_is_started_again_and_no_other_is_touched(code):
    scene = working()
    scene.orders.clear()
    scene.later(LONG_MS)
    scene.restart(2, code)
    assert {order.slot for order in scene.orders if not isinstance(order, GiveUp)} == {2}


def test_after_a_long_life_the_next_start_is_soon():
    scene = working()
    for _ in range(20):
        scene.restart(1, KILLED)
        scene.ready(1)
    scene.later(LONG_MS)
    (order,) = scene.ended(1, KILLED)
    assert isinstance(order, Restart)
    assert order.pause_ms <= 500


def test_a_life_is_long_from_when_it_works_and_not_from_its_start():
    assert not Life(ready_ms=None, ended_ms=10 * LONG_MS, code=1).is_long
    assert not Life(ready_ms=1, ended_ms=LONG_MS, code=1).is_long
    assert Life(ready_ms=1, ended_ms=LONG_MS + 1, code=1).is_long


def test_pauses_double_up_to_half_a_minute_while_lives_are_short():
    scene = working()
    pauses = []
    for _ in range(9):
        pauses.append(2 * scene.restart(1, KILLED))
        scene.ready(1)
    assert pauses == [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]


def test_each_process_has_pauses_of_its_own():
    scene = working()
    for _ in range(5):
        scene.restart(1, KILLED)
        scene.ready(1)
    assert scene.restart(2, KILLED) == 250


@given(st.integers(0, 1_000_000), st.floats(0, 1, exclude_max=True))
def test_a_pause_is_never_shorter_than_half_of_what_it_may_be(short, roll):
    assert 250 <= pause_ms(short, roll) <= 30_000
    assert pause_ms(short, 0.0) <= pause_ms(short, roll) <= 2 * pause_ms(short, 0.0)
    assert pause_ms(short, roll) <= pause_ms(short + 1, roll)


def test_nothing_is_to_be_done_before_a_pause_is_over():
    scene = working()
    (order,) = scene.ended(1, KILLED)
    assert isinstance(order, Restart)
    assert scene.crew.wakes_at_ms == scene.now_ms + order.pause_ms
    assert scene.later(order.pause_ms - 1) == []
    assert scene.later(1) == [Start(1)]
    assert scene.crew.wakes_at_ms == float("inf")


# ── giving up ────────────────────────────────────────────────────────────────


def test_a_worker_that_never_comes_up_gives_up():
    scene = Scene()
    for _ in range(4):
        scene.restart(1, 1)
    despair = scene.gives_up(1, 1)
    assert despair.code == GAVE_UP
    assert "exit code 1" in despair.why
    assert scene.crew.code == GAVE_UP


def test_one_that_works_keeps_the_hope_for_the_others():
    scene = working(2)
    for _ in range(50):
        scene.restart(1, 1)
    assert scene.crew.code is None


def test_one_that_works_after_many_false_starts_is_hope_enough():
    scene = working(2)
    scene.restart(1, KILLED)
    for _ in range(7):
        scene.restart(1, 1)
    scene.ready(1)
    for _ in range(7):
        scene.restart(2, 1)
    assert scene.crew.code is None


def test_when_no_process_comes_up_any_more_the_worker_gives_up():
    scene = working(2)
    for slot in (1, 2):
        scene.restart(slot, KILLED)
    for _ in range(5):
        scene.restart(1, 1)
    for _ in range(4):
        scene.restart(2, 1)
    assert scene.gives_up(2, 1).code == GAVE_UP
    assert Tell(1, Word.DRAIN) in scene.orders


def test_to_come_up_once_is_hope_for_five_more_tries():
    scene = Scene(1)
    for _ in range(4):
        scene.restart(1, 1)
    scene.ready(1)
    for _ in range(5):
        scene.restart(1, KILLED)
    assert scene.gives_up(1, 1).code == GAVE_UP


def test_a_process_that_works_and_dies_is_started_for_ever():
    scene = working(1)
    for _ in range(100):
        scene.restart(1, KILLED)
        scene.ready(1)
    assert scene.crew.code is None


def test_a_store_that_was_never_there_is_told_by_its_own_code():
    scene = Scene()
    for _ in range(4):
        scene.restart(1, UNREACHABLE)
    assert scene.gives_up(1, UNREACHABLE).code == UNREACHABLE


def test_a_store_that_is_away_for_a_while_is_waited_for():
    scene = working(1)
    scene.restart(1, KILLED)
    for _ in range(100):
        scene.restart(1, UNREACHABLE)
    scene.ready(1)
    assert scene.crew.code is None


def test_an_excused_life_is_not_forgotten_and_brings_no_hope():
    history = History(lives=3, short=2, false_starts=2)
    life = Life(ready_ms=None, ended_ms=5, code=UNREACHABLE)
    excused = history.after(life, is_excused=True)
    assert excused == History(lives=4, short=3, false_starts=2)
    assert history.after(life) == History(lives=4, short=3, false_starts=3)


def test_whoever_gave_up_is_hurried_by_the_first_signal():
    scene = Scene(2)
    scene.ready(1)
    scene.gives_up(2, CONFIG)
    assert scene.signalled() == [Tell(1, Word.HAND_BACK)]


# ── being replaced ───────────────────────────────────────────────────────────


@pytest.mark.parametrize("code", [DRAINED, HANDED_BACK])
def test_one_that_has_done_enough_is_replaced_without_a_pause(code):
    scene = working()
    for _ in range(20):  # however short their lives are
        assert scene.replaces(2) == []
        assert scene.ended(2, code) == [Start(2)]
        scene.ready(2)


def test_one_that_fails_while_it_drains_is_treated_like_any_other():
    scene = working()
    scene.replaces(2)
    (order,) = scene.ended(2, STUCK)
    assert isinstance(order, Restart)


def test_one_that_does_not_end_although_it_wanted_to_be_replaced_is_killed():
    scene = working()
    scene.replaces(2)
    assert scene.later(GRACE_MS + MARGIN_MS - 1) == []
    assert scene.later(1) == [Tell(2, Word.DIE)]


def test_nobody_is_replaced_once_the_worker_is_told_to_end():
    scene = working(1)
    scene.replaces(1)
    scene.signalled()
    assert scene.ended(1, DRAINED) == []
    assert scene.crew.code == DRAINED


# ── being edited ─────────────────────────────────────────────────────────────


def test_an_edit_hands_back_and_starts_all_of_them_anew():
    scene = working(2, reloads=True)
    assert scene.changed() == [Tell(1, Word.HAND_BACK), Tell(2, Word.HAND_BACK)]
    assert scene.ended(1, STUCK) == [Start(1)]
    assert scene.ended(2, HANDED_BACK) == [Start(2)]


def test_one_that_cannot_start_waits_for_an_edit_and_nothing_is_given_up():
    scene = Scene(1, reloads=True)
    for _ in range(10):
        assert scene.ended(1, CONFIG) == [Await(1)]
        assert scene.later(3_600_000) == []
        assert scene.changed() == [Start(1)]
    assert scene.crew.code is None


def test_one_that_is_starting_while_somebody_edits_begins_anew():
    scene = Scene(1, reloads=True)
    assert scene.changed() == [Tell(1, Word.DIE)]
    assert scene.ended(1, KILLED) == [Start(1)]


def test_one_that_crashes_at_work_is_started_again_without_an_edit():
    scene = working(1, reloads=True)
    (order,) = scene.ended(1, KILLED)
    assert isinstance(order, Restart)


def test_an_edit_does_not_keep_a_worker_that_is_told_to_end():
    scene = working(1, reloads=True)
    scene.signalled()
    assert scene.changed() == []


# ── being told ───────────────────────────────────────────────────────────────


def test_the_first_signal_drains_the_second_hands_back_and_the_third_kills():
    scene = working(2)
    assert scene.signalled() == [Tell(1, Word.DRAIN), Tell(2, Word.DRAIN)]
    assert scene.signalled() == [Tell(1, Word.HAND_BACK), Tell(2, Word.HAND_BACK)]
    assert scene.signalled() == [Tell(1, Word.DIE), Tell(2, Word.DIE)]
    assert [word_of(count) for count in range(1, 6)] == [
        Word.DRAIN,
        Word.HAND_BACK,
        Word.DIE,
        Word.DIE,
        Word.DIE,
    ]


def test_only_those_that_live_are_told():
    scene = working(2)
    scene.ended(1, KILLED)
    assert scene.signalled() == [Tell(2, Word.DRAIN)]


def test_nobody_is_started_once_the_worker_is_told_to_end():
    scene = working(2)
    scene.ended(1, KILLED)
    scene.signalled()
    assert scene.later(LONG_MS) == [Tell(2, Word.DIE)]
    assert scene.ended(2, KILLED) == []
    assert scene.crew.code == STUCK


def test_a_worker_without_a_process_ends_at_the_first_signal():
    scene = Scene()
    scene.ended(1, KILLED)
    assert scene.crew.code is None
    assert scene.signalled() == []
    assert scene.crew.code == DRAINED


def test_one_that_begins_to_work_after_the_signal_is_told_again():
    scene = Scene(1)
    assert scene.signalled() == [Tell(1, Word.DRAIN)]
    assert scene.ready(1) == [Tell(1, Word.DRAIN)]
    assert scene.later(GRACE_MS + MARGIN_MS - 1) == []
    assert scene.later(1) == [Tell(1, Word.DIE)]


def test_who_does_not_end_in_its_grace_and_a_margin_is_killed():
    scene = Scene(2)
    scene.ready(1)
    scene.ready(2, grace_ms=60_000)
    scene.signalled()
    assert scene.later(GRACE_MS + MARGIN_MS) == [Tell(1, Word.DIE)]
    scene.ended(1, KILLED)
    assert scene.later(30_000) == [Tell(2, Word.DIE)]
    scene.ended(2, KILLED)
    assert scene.crew.code == STUCK


def test_who_does_not_hand_back_in_a_margin_is_killed():
    scene = working(1)
    scene.signalled()
    scene.later(10)
    scene.signalled()
    assert scene.later(MARGIN_MS) == [Tell(1, Word.DIE)]


def test_a_second_signal_gives_nobody_more_time():
    scene = working(1)
    scene.signalled()
    scene.later(GRACE_MS + MARGIN_MS - 1)
    scene.signalled()
    assert scene.later(1) == [Tell(1, Word.DIE)]


def test_one_that_not_even_a_kill_ends_is_not_waited_for():
    scene = working(1)
    for _ in range(3):
        scene.signalled()
    assert scene.later(5_000) == []
    assert scene.crew.code == STUCK


# ── the exit code ────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("codes", "code"),
    [
        ([], DRAINED),
        ([DRAINED, DRAINED], DRAINED),
        ([DRAINED, HANDED_BACK], HANDED_BACK),
        ([HANDED_BACK, STUCK, DRAINED], STUCK),
        ([DRAINED, KILLED], STUCK),
        ([-signal.SIGSEGV, HANDED_BACK], STUCK),
        ([UNREACHABLE, HANDED_BACK, DRAINED], UNREACHABLE),
        ([UNREACHABLE, STUCK], STUCK),
    ],
)
def test_the_worst_end_is_the_end_of_the_worker(codes, code):
    assert merged(codes) == code


def test_a_worker_that_shall_not_go_on_drains_and_ends_with_the_code_of_the_reason():
    scene = working(2)
    despair = GiveUp(CONFIG, "its address is taken")
    drains = [Tell(1, Word.DRAIN), Tell(2, Word.DRAIN)]
    assert scene.note(scene.crew.give_up(despair, scene.now_ms)) == [despair, *drains]
    scene.ended(1, DRAINED)
    scene.ended(2, HANDED_BACK)
    assert scene.crew.code == CONFIG


def test_the_worker_ends_with_the_last_of_its_processes():
    scene = working(3)
    scene.signalled()
    for slot, code in ((1, DRAINED), (3, HANDED_BACK)):
        scene.ended(slot, code)
        assert scene.crew.code is None
    scene.ended(2, DRAINED)
    assert scene.crew.code == HANDED_BACK


@pytest.mark.parametrize("code", [TERMINATED, -signal.SIGINT, 130, DRAINED])
def test_one_that_was_told_before_it_took_work_has_drained(code):
    scene = Scene()
    scene.signalled()
    scene.ended(1, code)
    assert scene.crew.code == DRAINED


@pytest.mark.parametrize(
    ("code", "words"),
    [(70, "exit code 70"), (KILLED, "SIGKILL"), (-signal.SIGSEGV, "SIGSEGV"), (-40, "signal 40")],
)
def test_an_end_is_told_in_words(code, words):
    assert ending(code) == words


# ── whatever happens ─────────────────────────────────────────────────────────

CODES = [0, 1, CONFIG, UNREACHABLE, STUCK, HANDED_BACK, KILLED]


@given(st.data())
def test_no_process_is_started_twice_and_every_worker_that_is_told_ends(data):
    scene = Scene(data.draw(st.integers(1, 4)))
    living: dict[int, bool] = {}

    def follow(orders: Sequence[Order]) -> None:
        for order in orders:
            if isinstance(order, Start):
                assert order.slot not in living
                assert not scene.crew.is_stopping
                living[order.slot] = False
            elif isinstance(order, Tell):
                assert order.slot in living

    follow(scene.orders)
    for _ in range(data.draw(st.integers(0, 40))):
        if scene.crew.code is not None:
            break
        match data.draw(st.sampled_from(["ready", "ended", "signal", "time"])):
            case "ready" if unborn := [slot for slot, works in living.items() if not works]:
                slot = data.draw(st.sampled_from(unborn))
                living[slot] = True
                follow(scene.ready(slot))
            case "ended" if living:
                slot = data.draw(st.sampled_from(sorted(living)))
                del living[slot]
                follow(scene.ended(slot, data.draw(st.sampled_from(CODES))))
            case "signal":
                follow(scene.signalled())
            case _:
                follow(scene.later(data.draw(st.sampled_from([1, 500, 20_000]))))
    follow(scene.signalled())
    follow(scene.later(GRACE_MS + MARGIN_MS))
    follow(scene.later(MARGIN_MS))
    assert scene.crew.code is not None

"""The machine's dice: no two throws are alike, whoever throws them."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from stem_core.contracts.clock import SYSTEM_DICE, SystemDice


def test_bytes_have_the_length_that_was_asked_for() -> None:
    assert [len(SYSTEM_DICE.bytes(count)) for count in (0, 1, 10, 16, 17, 4096)] == [
        0, 1, 10, 16, 17, 4096,
    ]  # fmt: skip


def test_no_two_threads_get_the_same_bytes() -> None:
    dice = SystemDice()

    def many(_: int) -> list[bytes]:
        return [dice.bytes(10) for _ in range(5_000)]

    with ThreadPoolExecutor(8) as pool:
        thrown = [each for found in pool.map(many, range(8)) for each in found]
    assert len(set(thrown)) == len(thrown) == 40_000


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks on this system")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_child_does_not_throw_what_its_parent_throws() -> None:
    SYSTEM_DICE.bytes(10)  # from here on there is a stock
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.write(write, b"".join(SYSTEM_DICE.bytes(10) for _ in range(128)))
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        theirs = pipe.read()
    os.waitpid(child, 0)
    mine = {SYSTEM_DICE.bytes(10) for _ in range(128)}
    assert mine.isdisjoint(theirs[at : at + 10] for at in range(0, 1280, 10))

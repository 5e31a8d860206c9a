"""A queue serves in order however entries step out of it, and forgets those that did."""

from __future__ import annotations

import gc
import weakref

from stem_core.contracts.messages import Message
from stem_core.embedded.memory.queues import Entry, Queue


def entry(queue: Queue, id: str, priority: int = 0) -> Entry:
    return Entry(Message(id=id, queue="q", task="t", body=b"", priority=priority), queue)


def fill(queue: Queue, count: int) -> list[Entry]:
    entries = [entry(queue, f"m{n}") for n in range(count)]
    for ticket, one in enumerate(entries):
        queue.ready += 1
        queue.append(one, ticket, 0)
    return entries


def step_out(queue: Queue, one: Entry) -> None:
    queue.ready -= 1
    queue.remove(one)


def taken(queue: Queue, limit: int = 999) -> list[str]:
    found: list[Entry] = []
    queue.take(limit, found)
    return [one.message.id for one in found]


def test_an_entry_that_stepped_out_is_not_served():
    queue = Queue("q")
    entries = fill(queue, 5)
    step_out(queue, entries[1])
    step_out(queue, entries[3])
    assert [one.message.id for one in queue.waiting(99)] == ["m0", "m2", "m4"]
    assert taken(queue) == ["m0", "m2", "m4"]


def test_an_entry_that_steps_out_and_in_is_served_once_at_its_new_turn():
    queue = Queue("q")
    first, *_ = fill(queue, 3)
    for ticket in range(3, 6):
        step_out(queue, first)
        queue.ready += 1
        queue.append(first, ticket, 0)
    assert [one.message.id for one in queue.waiting(99)] == ["m1", "m2", "m0"]
    assert taken(queue) == ["m1", "m2", "m0"]


def test_an_entry_outside_keeps_no_debt_when_ranks_are_closed():
    queue = Queue("q")
    first, *rest = fill(queue, 400)
    step_out(queue, first)
    for one in rest[:-2]:
        step_out(queue, one)
    queue.ready += 1
    queue.append(first, 999, 0)
    assert taken(queue) == ["m398", "m399", "m0"]


def test_cancelled_messages_free_their_memory_before_anybody_fetches():
    queue = Queue("q")
    entries = fill(queue, 1000)
    alive = [weakref.ref(one) for one in entries]
    for one in entries:
        step_out(queue, one)
    del entries, one
    gc.collect()
    assert not any(ref() for ref in alive)


def test_what_is_handed_back_goes_by_its_old_ticket_and_can_step_out():
    queue = Queue("q")
    fill(queue, 4)
    found: list[Entry] = []
    queue.take(3, found)
    for one in reversed(found):
        queue.bring_back(one)
    step_out(queue, found[1])
    assert taken(queue) == ["m0", "m2", "m3"]

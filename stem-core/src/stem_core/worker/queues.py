"""In which order a worker asks its queues, so that none of them starves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from stem_core.model.errors import InvalidOption
from stem_core.model.ids import check_name
from stem_core.producer.client import Stem

__all__ = ["in_turn", "queues_of", "weights_of"]


def queues_of(stem: Stem) -> tuple[str, ...]:
    """Return the default queue, and those that the tasks here are registered for or routed to."""
    found = [stem.config.default_queue]
    for name in stem.registry.names():
        task = stem.registry.get(name)
        queue = (task and task.options.queue) or stem.routes.queue_of(name)
        if queue:
            found.append(queue)
    return tuple(dict.fromkeys(found))


def weights_of(queues: str | Sequence[str] | Mapping[str, int]) -> dict[str, int]:
    """Return each queue with its weight, 1 where none was given.

    Raises:
        InvalidOption: no queue at all, or a weight that is no positive number.
        InvalidName: a queue with a name that no store can keep.
    """
    if isinstance(queues, str):
        queues = (queues,) if queues else ()
    weights = dict(queues) if isinstance(queues, Mapping) else dict.fromkeys(queues, 1)
    if not weights:
        raise InvalidOption("queues is empty", way_out='Name at least one, such as ["default"].')
    for name, weight in weights.items():
        check_name(name, kind="queue")
        if type(weight) is not int or weight < 1:
            raise InvalidOption(f"queues: the weight of {name!r} is {weight!r}, expected 1 or more")
    return weights


def in_turn(weights: Mapping[str, int], roll: Callable[[], float]) -> Sequence[str]:
    """Return the queues in a random order, heavier ones earlier in proportion to their weight."""
    if len(weights) == 1:
        return tuple(weights)
    left = dict(weights)
    order = []
    while left:
        order.append(_drawn(left, roll()))
        del left[order[-1]]
    return order


def _drawn(weights: Mapping[str, int], roll: float) -> str:
    """Return the queue that *roll*, in [0, 1), falls on."""
    mark = roll * sum(weights.values())
    for name, weight in weights.items():
        mark -= weight
        if mark < 0:
            return name
    return next(reversed(list(weights)))

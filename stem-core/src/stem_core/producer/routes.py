"""Queues by pattern of task names, for producers that know no task code.

Rule of this module: pure. A call and a registration say more than a route does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from fnmatch import translate
from typing import Final

from stem_core.model.errors import InvalidOption
from stem_core.model.ids import check_name

__all__ = ["Routes"]

_PATTERN: Final = re.compile(r"[A-Za-z0-9._*?\[\]!-]{1,256}")


class Routes:
    """Patterns and queues, in order: the first that fits wins."""

    __slots__ = ("_rules", "patterns")

    def __init__(self, patterns: Mapping[str, str] | None = None) -> None:
        """Take shell patterns of task names: ``{"billing.*": "billing"}``.

        Raises:
            InvalidOption, InvalidName: a pattern or a queue that cannot be.
        """
        self.patterns: Final = dict(patterns or {})
        self._rules: Final = tuple(
            (_matcher(pattern), check_name(queue, kind="queue"))
            for pattern, queue in self.patterns.items()
        )

    @classmethod
    def parse(cls, given: Mapping[str, str] | str) -> Routes:
        """Return the routes of a mapping, or of ``"billing.*=billing,reports.*=reports"``."""
        if not isinstance(given, str):
            return cls(given)
        pairs = [pair.partition("=") for pair in given.split(",") if pair.strip()]
        for pattern, equals, _ in pairs:
            if not equals:
                raise InvalidOption(
                    f"route {pattern!r:.80} names no queue", way_out="Write pattern=queue."
                )
        return cls({pattern.strip(): queue.strip() for pattern, _, queue in pairs})

    def queue_of(self, task: str) -> str | None:
        """Return the queue of the first pattern that fits, or None."""
        for fits, queue in self._rules:
            if fits(task):
                return queue
        return None

    def __repr__(self) -> str:
        return f"Routes({self.patterns!r})"


def _matcher(pattern: str) -> Callable[[str], object]:
    given: object = pattern
    if not isinstance(given, str) or not _PATTERN.fullmatch(given):
        raise InvalidOption(
            f"route {given!r:.80} is no pattern of task names",
            way_out='Write a name, or one with * and ?: "billing.*".',
        )
    return re.compile(translate(given)).fullmatch

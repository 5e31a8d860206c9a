"""Who comes before whom among messages of one queue and priority.

Rule of this module: it says only what is promised. Of two turns that a store may give
out either way round neither precedes the other.
"""

from __future__ import annotations

from typing import Final

from attrs import frozen

__all__ = ["IN_ORDER", "Turn"]

IN_ORDER: Final = 0
"""The group of all that became ready in a step of its own: publish, retry, replay."""


@frozen
class Turn:
    """A place in line: by ready time, then, within one group, by number.

    Attributes:
        since_ms: ready at this instant or later.
        until_ms: ready at this instant or before. Later than *since_ms* for a lease that
            lapsed, whose ready time is when the store took that up.
        group: those of one group and one instant keep their order: all that were ready at
            once, and delayed ones that were published in one call.
        number: grows with every turn that is given out.
    """

    since_ms: int
    until_ms: int
    group: int
    number: int

    def precedes(self, other: Turn, slack_ms: int = 0) -> bool:
        """Decide whether whoever has this turn must be served before whoever has *other*."""
        if self.group == other.group and (
            self.group == IN_ORDER or self.since_ms == other.since_ms
        ):
            return self.number < other.number
        return self.until_ms + slack_ms < other.since_ms

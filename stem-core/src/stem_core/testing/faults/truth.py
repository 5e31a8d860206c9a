"""What a store holds once all is quiet, and how to ask it.

The best account of settlements is one that the store writes in the step that settles, such
as a trigger of its database: a worker that is killed between the commit and its own line
leaves no line. Whoever has none takes what workers were told.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Final, Self

from attrs import field, frozen

from stem_core.contracts.messages import Located
from stem_core.model.outcome import Record
from stem_core.testing.faults.history import History, What

__all__ = ["SUCCEEDED", "Commit", "Truth", "commits_told", "truth_of"]

SUCCEEDED: Final = "succeeded"
_AT_ONCE: Final = 500


@frozen
class Commit:
    """A settlement that the store has accepted; *is_final* unless it goes on from there."""

    id: str
    fence: int
    is_final: bool = True


@frozen(kw_only=True)
class Truth:
    """What the store holds once all is quiet.

    Attributes:
        commits: in the order in which they were made.
        records: state and fence of each id that has a record.
        located: ids that a lookup finds, wherever they are.
    """

    commits: Sequence[Commit] = ()
    records: Mapping[str, tuple[str, int]] = field(factory=dict)
    located: frozenset[str] = frozenset()

    @classmethod
    def told(cls, history: History) -> Self:
        """Return what the store must hold if all that it answered is true.

        A settlement whose worker was killed before it could say so is not in it: after a
        kill its task may look lost, or never taken up again.
        """
        commits = commits_told(history)
        ends = {commit.id: commit.fence for commit in commits if commit.is_final}
        return cls(
            commits=commits,
            records={id: (SUCCEEDED, fence) for id, fence in ends.items()},
            located=frozenset(commit.id for commit in commits),
        )


_FINAL: Final = ("ack", "deadletter")


def commits_told(history: History) -> list[Commit]:
    """Return the settlements that workers were told are done, in the order of the answers.

    One that was answered with ``already`` alone had been made before, and its first answer
    was lost.
    """
    commits: list[Commit] = []
    for event in history.only(What.SETTLED):
        status, _, outcome = event.detail.partition(" ")
        commit = Commit(event.id, event.fence, outcome in _FINAL)
        if status == "done" or (status == "already" and commit not in commits):
            commits.append(commit)
    return commits


async def truth_of(
    ids: Collection[str],
    *,
    lookup: Callable[[Sequence[str]], Awaitable[Sequence[Located | None]]],
    load: Callable[[Sequence[str]], Awaitable[Sequence[Record | None]]],
    commits: Sequence[Commit] = (),
) -> Truth:
    """Ask a store what it holds of *ids*.

    *lookup* and *load* are the verbs of its broker and of its backend; *commits* is the
    account of settlements, such as `commits_told`.
    """
    wanted = sorted(ids)
    records: dict[str, tuple[str, int]] = {}
    located: set[str] = set()
    for start in range(0, len(wanted), _AT_ONCE):
        chunk = wanted[start : start + _AT_ONCE]
        for record in await load(chunk):
            if record is not None:
                records[record.id] = (record.state.value, record.fence)
        found = await lookup(chunk)
        located |= {id for id, where in zip(chunk, found, strict=True) if where is not None}
    return Truth(commits=tuple(commits), records=records, located=frozenset(located))

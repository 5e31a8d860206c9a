"""One trial of a chaos test: processes that are killed and frozen, and the proof of what came.

What is done to a process is in the history before it is done: no time that is counted from
there is too good. The account of settlements is the store's own: each of them makes a
follow-up in the same step, so one that nobody has heard of is known all the same.
"""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Final, Self

from stem_core.contracts.messages import Located, Message
from stem_core.model.outcome import Record
from stem_core.testing.contract.stage import Stage
from stem_core.testing.contract.values import end
from stem_core.testing.contract.victim import ENDS, Order, commit_of
from stem_core.testing.faults.checker import Findings, judge
from stem_core.testing.faults.history import History, Recorder, Tail, What, now
from stem_core.testing.faults.truth import SUCCEEDED, Commit, Truth, truth_of

__all__ = ["Trial", "Victim"]

_PATIENCE_S: Final = 30.0
_LOOK_EVERY_S: Final = 0.02
_NOTED: Final = {
    signal.SIGKILL: What.KILLED,
    signal.SIGSTOP: What.FROZEN,
    signal.SIGCONT: What.THAWED,
}


class Victim:
    """A process that was started to *order*."""

    def __init__(self, order: Order, pen: Recorder, log: Path) -> None:
        self.order = order
        self._pen = pen
        self._log = log
        self.started_ns = time.monotonic_ns()
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "stem_core.testing.contract.victim"],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                text=True,
            )
        self.say(order.to_line())

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """How it has ended; None while it runs."""
        return self._process.poll()

    @property
    def said(self) -> str:
        """The end of its log."""
        return self._log.read_text("utf-8", "replace")[-2_000:]

    def say(self, line: str = "go\n") -> None:
        """Let *line* wait for it on its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.write(line)
        self._process.stdin.flush()

    def kill(self) -> None:
        """End it as the power switch would, and wait until it is gone."""
        self._hit(signal.SIGKILL)
        self._process.wait()

    def freeze(self) -> None:
        """Let it stand still."""
        self._hit(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._hit(signal.SIGCONT)

    def _hit(self, number: signal.Signals) -> None:
        self._pen.note(_NOTED[number], pid=self.pid)
        self._process.send_signal(number)

    def clear_away(self) -> None:
        """Let nothing be left of it; the history does not tell."""
        self._process.kill()
        self._process.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()


class Trial:
    """A history and all who write it. At the end of the block nobody is left.

    Attributes:
        dice: everything that is drawn comes from *seed*; 0 draws one.
    """

    def __init__(self, stage: Stage, seed: int) -> None:
        self.stage = stage
        self.seed = seed or random.SystemRandom().randrange(1, 1 << 32)
        self.dice = random.Random(self.seed)
        self.ids: list[str] = []
        self.victims: list[Victim] = []
        self._folder = TemporaryDirectory(prefix="stem-chaos-", ignore_cleanup_errors=True)
        self._history = Path(self._folder.name, "history")
        self.pen = Recorder(self._history)
        self.tail = Tail(self._history)
        print(f"chaos: seed {self.seed}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for victim in self.victims:
            victim.clear_away()
        self.pen.close()
        self._folder.cleanup()

    # ── who takes part ───────────────────────────────────────────────────────

    def start(self, role: str, **how: Any) -> Victim:
        """Start a process; *how* are the other attributes of its `Order`."""
        number = len(self.victims)
        assert self.stage.address is not None
        order = Order(
            role=role,
            address=self.stage.address,
            history=str(self._history),
            seed=f"{self.seed}:{number}",
            **how,
        )
        self.victims.append(Victim(order, self.pen, Path(self._folder.name, f"log-{number}")))
        return self.victims[-1]

    async def publish(self, messages: Sequence[Message]) -> None:
        """Publish, and note that they were accepted."""
        for batch in self._in_batches(messages):
            await self.stage.publish(*batch)
            self.pen.write(*[now(What.ACCEPTED, each.id) for each in batch])
        self.ids += [each.id for each in messages]

    def _in_batches(self, items: Sequence[Any]) -> list[Sequence[Any]]:
        most = min(100, self.stage.broker.capabilities.max_batch)
        return [items[start : start + most] for start in range(0, len(items), most)]

    # ── waiting ──────────────────────────────────────────────────────────────

    async def until(
        self, is_so: Callable[[], object], what: str, within_s: float = _PATIENCE_S
    ) -> None:
        """Return once *is_so* of what the history tells.

        Raises:
            AssertionError: it is not so within *within_s*, or a victim ended by itself.
        """
        until = time.monotonic() + within_s
        self.tail.look()
        while not is_so():
            self._check_victims()
            if time.monotonic() > until:
                raise AssertionError(self.told(f"no {what} within {within_s:g} s"))
            await asyncio.sleep(_LOOK_EVERY_S)
            self.tail.look()

    def _check_victims(self) -> None:
        for victim in self.victims:
            if victim.exit_code not in (None, 0, -signal.SIGKILL):
                why = f"a process ended with code {victim.exit_code}:\n{victim.said}"
                raise AssertionError(self.told(why))

    async def until_ended(self, within_s: float) -> None:
        """Return once the store holds none of what was published any more."""
        until, left = time.monotonic() + within_s, self.ids
        while left := await self._still_there(left):
            self._check_victims()
            if time.monotonic() > until:
                some = ", ".join(left[:3])
                why = f"{len(left)} of {len(self.ids)} not ended within {within_s:g} s: {some}"
                raise AssertionError(self.told(why))
            await asyncio.sleep(5 * _LOOK_EVERY_S)

    async def _still_there(self, ids: Sequence[str]) -> list[str]:
        found = await self.lookup(ids)
        return [id for id, where in zip(ids, found, strict=True) if where is not None]

    async def moment(self, longest_s: float) -> None:
        """Let a random time go by: a fault comes when nobody expects it."""
        await asyncio.sleep(self.dice.uniform(0, longest_s))

    def pids(self, what: What) -> set[int]:
        """Return who has written that, as far as the history was read."""
        return {event.pid for event in self.tail.events if event.what is what}

    def slowest_start_ms(self) -> float:
        """Return how long the machine took at most until a consumer that it started was ready."""
        started = {victim.pid: victim.started_ns for victim in self.victims}
        ready = (event for event in self.tail.events if event.what is What.READY)
        return max(((event.at_ns - started[event.pid]) / 1e6 for event in ready), default=0.0)

    # ── the proof ────────────────────────────────────────────────────────────

    async def lookup(self, ids: Sequence[str]) -> list[Located | None]:
        """Look up as many as there are."""
        batches = [await self.stage.broker.lookup(batch) for batch in self._in_batches(ids)]
        return [found for batch in batches for found in batch]

    async def judged(self) -> Findings:
        """Return what the history and the store prove together."""
        commits = [commit_of(id) for id in await self._witnesses()]
        load = self.stage.results.load if self.stage.is_atomic else _nothing
        truth = await truth_of(self.ids, lookup=self.lookup, load=load, commits=commits)
        if not self.stage.is_atomic:
            truth = Truth(
                commits=commits, records=_records_of(commits), located=truth.located
            )  # the follow-up alone tells of the end
        return judge(History.of(self._history), truth)

    async def _witnesses(self) -> list[str]:
        most = min(100, self.stage.broker.capabilities.max_batch)
        ids: list[str] = []
        while taken := await self.stage.fetch(ENDS, limit=most):
            ids += [each.message.id for each in taken]
            await self.stage.broker.settle([end(each) for each in taken])
        return ids

    def told(self, *complaints: str) -> str:
        """Return *complaints* with what is needed to see them again."""
        return f"{'; '.join(complaints)} (seed {self.seed})"


async def _nothing(ids: Sequence[str]) -> list[Record | None]:
    return [None] * len(ids)


def _records_of(commits: Sequence[Commit]) -> dict[str, tuple[str, int]]:
    return {each.id: (SUCCEEDED, each.fence) for each in commits if each.is_final}

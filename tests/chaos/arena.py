"""The place of one trial: a store with its ledger, a history, and processes on both sides."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from chaos import ledger
from chaos.ledger import Ledger
from chaos.names import FUSE, HISTORY, LEAK
from chaos.party import Party
from chaos.plan import Plan
from chaos.witness import Fuse

from stem_core.contracts.messages import Located
from stem_core.model.options import TaskOptions
from stem_core.testing.faults.checker import Findings, judge
from stem_core.testing.faults.history import Event, History, Recorder, Tail, What, now
from stem_core.testing.faults.truth import Truth

LEASE_S, SWEEP_S, POLL_S = 2.0, 1.0, 1.0
"""The profile of these tests: a lease, and how often at the latest somebody looks."""

RECOVERY_MS = (LEASE_S + SWEEP_S + POLL_S) * 1000
"""How soon a task of a dead worker starts again."""

RESUME_MS = 3_000
"""How soon a worker goes on by itself when its store is back."""

_PATIENCE_S = 60.0
_LOOK_EVERY_S = 0.02


class Arena:
    """A store in *folder*, and all who use it. At the end of the block nobody is left.

    One that *is_leaky* loses messages: it shows whether anybody would notice.

    Attributes:
        lease_s: of its tasks; longer where a worker may have to wait for the machine.
    """

    lease_s = LEASE_S

    def __init__(
        self,
        folder: Path,
        dice: random.Random,
        *,
        durability: str = "full",
        is_leaky: bool = False,
    ) -> None:
        self.folder = folder
        self.is_leaky = is_leaky
        self.dice = dice
        self.broker = "sqlite"
        self.file = folder / "tasks.db"
        self.url = f"sqlite:///{self.file}?durability={durability}"
        self.ledger = Ledger(self.file)
        self.pen = Recorder(folder / "history")
        self.tail = Tail(folder / "history")
        self.parties: list[Party] = []
        self.signs: dict[str, str] = {}  # more that processes are to find in their environment

    def __enter__(self) -> Self:
        asyncio.run(ledger.make_tables(self.url))
        self.ledger.begin()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for party in self.parties:
            party.clear_away()
        self.pen.close()

    # ── who takes part ───────────────────────────────────────────────────────

    def worker(
        self,
        *,
        concurrency: int = 16,
        fuse: Fuse | None = None,
        app: str = "chaos.app",
        terminal: str = "",
        **settings: str,
    ) -> Party:
        """Start a worker. *settings* are those of Stem, without STEM_ and in lower case."""
        words = ["chaos.terminal", terminal] if terminal else []
        words += ["stem_core", "worker", f"{app}:stem", "--log-format", "text"]
        return self._start(words, fuse, worker_concurrency=str(concurrency), **settings)

    def ready_worker(self, **how) -> Party:
        """Start a worker and wait until it takes work."""
        [party] = self.ready_workers(1, **how)
        return party

    def ready_workers(self, count: int, **how) -> list[Party]:
        """Start *count* workers and wait until all of them take work."""
        parties = [self.worker(**how) for _ in range(count)]
        self._wait_until_ready(parties)
        return parties

    def _wait_until_ready(self, parties: Iterable[Party]) -> None:
        wanted = {party.pid for party in parties}
        self.wait_for(lambda events: wanted <= _ready(events), "worker that is ready")

    def producer(self, plan: Plan, *, fuse: Fuse | None = None, **settings: str) -> Party:
        """Start a producer; *settings* as for a worker."""
        return self._start(["chaos.producing", *plan.words], fuse, **settings)

    def holder(self, seconds: float) -> Party:
        """Start a program that locks the file for *seconds*."""
        return self._start(["chaos.holding", str(self.file), str(seconds)], None)

    def enqueue(
        self,
        args: Sequence[Mapping[str, object]],
        task: str = "chaos.work",
        *,
        delay_s: float | None = None,
        **options: Any,
    ) -> list[str]:
        """Enqueue *task* with each of *args*, from this process; return the ids."""
        chosen = TaskOptions(**{"visibility_timeout": self.lease_s, **options})
        ids = asyncio.run(ledger.enqueue(self.url, args, task, chosen, delay_s))
        self.pen.write(*[now(What.ACCEPTED, id) for id in ids])
        return ids

    def _start(self, words: list[str], fuse: Fuse | None, **settings: str) -> Party:
        environment = self._environment(settings) | {FUSE: str(fuse or "")}
        log = self.folder / f"log-{len(self.parties)}"
        self.parties.append(Party(words, environment, self.pen, log))
        return self.parties[-1]

    def _environment(self, settings: Mapping[str, str]) -> dict[str, str]:
        """Return the variables of a process: *settings* of Stem, and those of the trial."""
        lease = {"default_visibility_timeout": f"{self.lease_s:g}s"}
        chosen = {"broker_url": self.url, **lease, **settings}
        told = {f"STEM_{name.upper()}": value for name, value in chosen.items()}
        told |= {HISTORY: str(self.folder / "history")}
        return told | ({LEAK: "yes"} if self.is_leaky else {}) | self.signs

    # ── waiting ──────────────────────────────────────────────────────────────

    def wait_until(
        self, is_so: Callable[[], object], what: str, within_s: float = _PATIENCE_S
    ) -> None:
        """Return once *is_so*; fail, with the logs, when it is not so within *within_s*."""
        until = time.monotonic() + within_s
        while not is_so():
            if time.monotonic() > until:
                raise AssertionError(f"no {what} within {within_s:g} s\n{self.said}")
            time.sleep(_LOOK_EVERY_S)

    def wait_for(
        self, is_so: Callable[[list[Event]], object], what: str, within_s: float = _PATIENCE_S
    ) -> None:
        """Return once *is_so* of the events so far."""
        self.wait_until(lambda: is_so(self.tail.look()), what, within_s)

    def wait_for_ends(self, within_s: float = _PATIENCE_S) -> None:
        """Return once everything that was accepted, and what follows from it, has ended."""

        def all_ended() -> bool:
            ended = self.ledger.ended()
            return self.accepted() <= ended and self.tail.ids[What.FOLLOWS] <= ended

        self.wait_until(all_ended, "end of all", within_s)

    def accepted(self) -> set[str]:
        """Return the ids whose enqueue has returned."""
        self.tail.look()
        return self.tail.ids[What.ACCEPTED]

    def wait_for_takers(self, workers: set[int]) -> None:
        """Return once all of *workers* have leased something since the store was last back."""
        self.wait_for(lambda events: workers <= _takers_since_the_return(events), "going on")

    def moment(self, longest_s: float) -> None:
        """Let a random time go by: the fault comes when nobody expects it."""
        time.sleep(self.dice.uniform(0, longest_s))

    @property
    def said(self) -> str:
        """The ends of all logs that are not empty."""
        told = [(party.log.name, party.said) for party in self.parties]
        return "\n".join(f"── {name}\n{said}" for name, said in told if said)

    def whole_log(self) -> str:
        """Everything that anybody has logged or was told."""
        logs = [party.log.read_text("utf-8", "replace") for party in self.parties]
        return "\n".join([*logs, *(each.detail for each in self.history().only(What.TROUBLE))])

    # ── the end ──────────────────────────────────────────────────────────────

    def drain(self, parties: Iterable[Party]) -> list[int]:
        """Ask workers to end, once they have begun; return their exit codes."""
        asked = list(parties)
        self._wait_until_ready(asked)
        for party in asked:
            party.terminate()
        return [party.wait(_PATIENCE_S) for party in asked]

    def history(self) -> History:
        """Return what was written so far."""
        return History.of(self.folder / "history")

    def truth(self) -> Truth:
        """Return what the store holds."""
        ids = {event.id for event in self.history().only(What.ACCEPTED, What.FOLLOWS)}
        commits = self.ledger.commits()
        return asyncio.run(ledger.truth(self.url, commits, ids | {each.id for each in commits}))

    def stored(self) -> int:
        """Return how many messages are ready in the store."""
        return asyncio.run(ledger.waiting(self.url))

    def letters(self) -> Mapping[str, Located]:
        """Return the dead letters by id."""
        return asyncio.run(ledger.letters(self.url))

    def judge(self) -> Findings:
        """Return what history and store prove together."""
        return judge(self.history(), self.truth())


def _takers_since_the_return(events: Sequence[Event]) -> set[int]:
    back_ns = max(event.at_ns for event in events if event.what is What.BACK)
    return {e.pid for e in events if e.what is What.LEASED and e.at_ns > back_ns}


def _ready(events: Iterable[Event]) -> set[int]:
    return {event.pid for event in events if event.what is What.READY}

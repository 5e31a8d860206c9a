"""The arena on a store in the memory of one process, which holds a worker and a producer too.

There is no ledger beside the store: what the worker was told of its settlements stands for it.
Who kills that process kills the store, so this is for what a worker must survive.
"""

from __future__ import annotations

import os
import pickle
import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from chaos.arena import Arena
from chaos.ledger import Ledger
from chaos.names import ENDED, HOST
from chaos.party import Party

from stem_core.contracts.messages import Located
from stem_core.testing.faults.history import History, What
from stem_core.testing.faults.truth import Commit, Truth, commits_told


class ToldLedger(Ledger):
    """All settlements that the worker was told of, as the history at *path* has them."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def begin(self) -> None:
        """Do nothing: the worker writes its history by itself."""

    def commits(self) -> list[Commit]:
        """Return them in the order in which they were made."""
        return commits_told(History.of(self.path))

    def ended(self) -> set[str]:
        """Return the ids that have ended so far."""
        return {commit.id for commit in self.commits() if commit.is_final}

    def can_write(self, within_s: float) -> bool:
        """True: there is no lock to hold."""
        return True


class MemoryArena(Arena):
    """One process with all that there is."""

    def __init__(self, folder: Path, dice: random.Random) -> None:
        super().__init__(folder, dice)
        self.broker = "memory"
        self.url = f"memory://chaos-{os.getpid()}"
        self.ledger = ToldLedger(folder / "history")
        self._orders = 0

    def __enter__(self) -> Self:
        return self

    def worker(self, *, concurrency: int = 16, app: str = "", **settings: Any) -> Party:
        """Start the process. Its application is always the one of the perils."""
        settings = {"worker_concurrency": str(concurrency), **settings}
        return self._start(["chaos.hosting"], None, **settings)

    def _environment(self, settings: Mapping[str, str]) -> dict[str, str]:
        return super()._environment(settings) | {HOST: "yes"}

    def enqueue(
        self, args: Sequence[Mapping[str, object]], task: str = "chaos.work", **options: Any
    ) -> list[str]:
        """Have the process enqueue *task* with each of *args*; return the ids."""
        options = {"visibility_timeout": self.lease_s, **options}
        return self._ask("enqueue", task=task, args=list(args), options=options)

    def drain(self, parties: Iterable[Party]) -> list[int]:
        """Ask the worker to end; its process, and the store in it, goes on."""
        [party] = parties
        self._wait_until_ready([party])
        party.terminate()
        return [self._answer(self.folder / ENDED)]

    def truth(self) -> Truth:
        """Return what the store holds."""
        ids = self.accepted() | self.tail.ids[What.FOLLOWS]
        return self._ask("truth", ids=sorted(ids), history=str(self.tail.path))

    def letters(self) -> Mapping[str, Located]:
        """Return the dead letters by id."""
        return self._ask("letters")

    def _ask(self, what: str, **how: Any) -> Any:
        self._orders += 1
        answer = self.folder / f"answer-{self._orders}"
        self.parties[-1].order({"do": what, "with": how, "to": str(answer)})
        return self._answer(answer)

    def _answer(self, path: Path) -> Any:
        self.wait_until(path.exists, f"answer at {path.name}")
        return pickle.loads(path.read_bytes())

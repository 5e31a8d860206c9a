"""From single trials to a verdict: which promises are kept, by level.

Rule of this module: pure. It knows no test and no store, only what was reported of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal

from attrs import frozen

__all__ = ["DECLARATION", "LEVELS", "Kept", "LevelVerdict", "PromiseVerdict", "Trial", "judge"]

Kept = Literal["kept", "broken", "not claimed", "not run"]

LEVELS: Final = ("core", "lease", "delay", "priority", "dedupe", "transactional", "chaos")
"""The steps of proof, in order, as the kit has them."""

DECLARATION: Final = "DECLARED"
"""Stands for the one thing that is tested and has no number: what is declared is there."""

_WORST_FIRST: Sequence[Kept] = ("broken", "kept", "not run", "not claimed")
"""A promise of several trials is as good as the first of these that any of them is."""


@frozen
class Trial:
    """What became of one test, which is about *ids*; *why* unless it is kept."""

    test: str
    ids: tuple[str, ...]
    level: str
    verdict: Kept
    why: str = ""

    @classmethod
    def of(cls, line: Mapping[str, Any]) -> Trial:
        """Return what a line of the kit's report says."""
        ids = tuple(line["ids"]) or (DECLARATION,)
        return cls(line["test"], ids, line["level"], line["verdict"], line["why"])


@frozen
class PromiseVerdict:
    """One promise on one level.

    Attributes:
        trials: how many tests of it have run.
        failures: those that failed.
        not_run: tests of it that could not be run; with others that were, it was proven in part.
        why: it was left out; empty when it was not.
    """

    id: str
    sentence: str
    verdict: Kept
    trials: int
    failures: tuple[Trial, ...]
    not_run: tuple[Trial, ...]
    why: str

    @property
    def is_in_part(self) -> bool:
        """True when it is kept as far as it was tried, and more is to be tried."""
        return self.verdict == "kept" and bool(self.not_run)

    def to_json(self) -> dict[str, Any]:
        """Return it for programs."""
        return {
            "id": self.id,
            "sentence": self.sentence,
            "verdict": self.verdict,
            "trials": self.trials,
            "failures": _tests(self.failures),
            "not_run": _tests(self.not_run),
            "why": self.why,
        }


def _tests(trials: Iterable[Trial]) -> list[dict[str, str]]:
    return [{"test": each.test, "why": each.why} for each in trials]


@frozen
class LevelVerdict:
    """One level, and what became of each promise on it.

    Attributes:
        declaration: of the level on which it is tested that what is declared is there.
    """

    level: str
    verdict: Kept
    promises: tuple[PromiseVerdict, ...]
    declaration: PromiseVerdict | None = None

    def of(self, verdict: Kept) -> list[PromiseVerdict]:
        """Return the promises with that *verdict*."""
        return [each for each in self.promises if each.verdict == verdict]

    @property
    def in_part(self) -> list[PromiseVerdict]:
        """The promises that are kept as far as they were tried."""
        return [each for each in self.promises if each.is_in_part]

    @property
    def broken(self) -> list[PromiseVerdict]:
        """What is broken, the declaration included."""
        declared = self.declaration
        own = [declared] if declared is not None and declared.verdict == "broken" else []
        return [*own, *self.of("broken")]

    def to_json(self) -> dict[str, Any]:
        """Return it for programs."""
        return {
            "level": self.level,
            "verdict": self.verdict,
            "promises": [each.to_json() for each in self.promises],
            "declaration": self.declaration and self.declaration.to_json(),
        }


def judge(
    trials: Iterable[Trial], sentences: Mapping[str, str], levels: Iterable[str] = LEVELS
) -> tuple[LevelVerdict, ...]:
    """Return the verdict on each of *levels*; one without a trial was not run."""
    every = tuple(trials)
    return tuple(
        _level(level, tuple(t for t in every if t.level == level), sentences) for level in levels
    )


def _level(level: str, trials: Sequence[Trial], sentences: Mapping[str, str]) -> LevelVerdict:
    every = tuple(_promises(trials, sentences))
    promises = tuple(each for each in every if each.id != DECLARATION)
    declaration = next((each for each in every if each.id == DECLARATION), None)
    return LevelVerdict(level, _worst(each.verdict for each in every), promises, declaration)


def _promises(trials: Sequence[Trial], sentences: Mapping[str, str]) -> Iterator[PromiseVerdict]:
    for id in dict.fromkeys(id for trial in trials for id in trial.ids):
        own = [trial for trial in trials if id in trial.ids]
        verdict = _worst(trial.verdict for trial in own)
        failures = tuple(trial for trial in own if trial.verdict == "broken")
        not_run = tuple(trial for trial in own if trial.verdict == "not run")
        run = sum(trial.verdict in ("kept", "broken") for trial in own)
        left_out = next((trial.why for trial in own if trial.verdict == verdict), "")
        why = left_out if verdict in ("not claimed", "not run") else ""
        sentence = sentences.get(id, "What is declared is there.")
        yield PromiseVerdict(id, sentence, verdict, run, failures, not_run, why)


def _worst(verdicts: Iterable[Kept]) -> Kept:
    given = set(verdicts)
    for verdict in _WORST_FIRST:
        if verdict in given:
            return verdict
    return "not run"

"""What tests of our own add to a certificate: they try what needs more than a URL. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

__all__ = ["filled"]

_TRIED: Final = ("kept", "broken")
_WORST_FIRST: Final = ("broken", "kept", "not run", "not claimed")


def filled(certificate: Mapping[str, Any], trials: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return *certificate* with *trials*, as the kit reports them, where something was not run."""
    levels = [_level(level, trials) for level in certificate["levels"]]
    is_broken = any(level["verdict"] == "broken" for level in levels)
    return {
        **certificate,
        "levels": levels,
        "certified": certificate["certified"] and not is_broken,
    }


def _level(level: Mapping[str, Any], trials: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    mine = [each for each in trials if each["level"] == level["level"]]
    promises = [_promise(promise, mine) for promise in level["promises"]]
    given = {level["verdict"], *(promise["verdict"] for promise in promises)}
    verdict = next(word for word in _WORST_FIRST if word in given)
    return {**level, "promises": promises, "verdict": verdict}


def _promise(promise: Mapping[str, Any], trials: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Fill the holes of one promise: each test counts once, on however many stages it ran."""
    holes = promise["not_run"]
    verdicts: dict[str, str] = {}
    for each in trials:
        if promise["id"] in each["ids"] and each["verdict"] in _TRIED:
            name = each["test"].partition("[")[0]
            verdicts[name] = min(verdicts.get(name, "kept"), each["verdict"])
    if not holes or not verdicts:
        return promise
    is_broken = "broken" in (promise["verdict"], *verdicts.values())
    count = min(len(holes), len(verdicts))
    return {
        **promise,
        "verdict": "broken" if is_broken else "kept",
        "trials": promise["trials"] + count,
        "not_run": holes[count:],
        "why": "",
    }

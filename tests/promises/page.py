"""The part of a page that says which broker keeps which promise. Pure.

What comes in are the objects that ``stem certify --json`` prints, by the names of the stores.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from chaos.report import replaced

from stem_core.cli.verdicts import LEVELS

__all__ = ["BEGIN", "END", "rendered", "written"]

BEGIN, END = "<!-- promises:begin -->", "<!-- promises:end -->"

Certificate = Mapping[str, Any]

_WORST_FIRST: Final = ("broken", "kept", "not run", "not claimed")
_NOBODY: Final = "not run"
_OF_SIGNERS: Final = ("SIGN-", "VERIFY-")


def written(page: str, part: str) -> str:
    """Return *page* with its generated part replaced by *part*."""
    return replaced(page, part, BEGIN, END)


def rendered(
    certificates: Mapping[str, Certificate],
    sentences: Mapping[str, str],
    absent: Mapping[str, str],
    header: Mapping[str, str],
    signers: Mapping[str, Certificate],
) -> str:
    """Return the generated part.

    *sentences* are all promises there are, by id; *absent* says of each store without a
    certificate why it has none; *signers* have a table of their own.
    """
    of_signers = {id: sentences[id] for id in sentences if id.startswith(_OF_SIGNERS)}
    of_stores = {id: sentences[id] for id in sentences if id not in of_signers}
    parts = [
        "\n".join(f"- {name}: {value}" for name, value in header.items()),
        _table(["level", *certificates], _levels(certificates)),
        _table(["promise", "in words", *certificates], _promises(certificates, of_stores)),
        _table(["promise", "in words", *signers], _promises(signers, of_signers)),
        "Left out:\n\n" + "\n".join(_left_out({**certificates, **signers}, absent)),
    ]
    told = "\n\n".join(parts)
    return f"{BEGIN}\n{told}\n{END}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _levels(certificates: Mapping[str, Certificate]) -> Iterator[Sequence[str]]:
    for level in LEVELS:
        yield [level, *(_level(each, level) for each in certificates.values())]


def _level(certificate: Certificate, name: str) -> str:
    level = next(each for each in certificate["levels"] if each["level"] == name)
    verdict = str(level["verdict"])
    ids = [each["id"] for each in level["promises"] if each["verdict"] == verdict]
    if verdict == "broken":
        return f"broken: {', '.join(ids)}"
    return f"kept: {len(ids)}" if verdict == "kept" else verdict


def _promises(
    certificates: Mapping[str, Certificate], sentences: Mapping[str, str]
) -> Iterator[Sequence[str]]:
    columns = [_by_id(certificate) for certificate in certificates.values()]
    for id in sorted(sentences, key=_order):
        cells = [_verdict(column.get(id, [])) for column in columns]
        yield [id, sentences[id].replace("|", "\\|"), *cells]


def _by_id(certificate: Certificate) -> Mapping[str, Sequence[Certificate]]:
    found: dict[str, list[Certificate]] = defaultdict(list)
    for level in certificate["levels"]:
        for promise in level["promises"]:
            found[promise["id"]].append(promise)
    return found


def _order(id: str) -> tuple[str, int]:
    name, _, number = id.rpartition("-")
    return name, int(number)


def _verdict(on_levels: Sequence[Certificate]) -> str:
    """Return what became of a promise on all its levels together, with the tests that ran, and
    how many could not."""
    given = {each["verdict"] for each in on_levels}
    verdict = next((word for word in _WORST_FIRST if word in given), _NOBODY)
    trials = sum(each["trials"] for each in on_levels)
    not_run = sum(len(each["not_run"]) for each in on_levels)
    others = f"; {not_run} not run" if not_run else ""
    return f"{verdict}, {trials}{others}" if trials else verdict


def _left_out(certificates: Mapping[str, Certificate], absent: Mapping[str, str]) -> Iterator[str]:
    yield from (f"- **{name}**: not run. {why}" for name, why in absent.items())
    for name, certificate in certificates.items():
        for why, ids in _reasons(certificate).items():
            yield f"- **{name}**, {why}: {', '.join(ids)}"


def _reasons(certificate: Certificate) -> Mapping[str, Sequence[str]]:
    """Return what was left out, by the reason; on the level where it was."""
    found: dict[str, list[str]] = defaultdict(list)
    for level in certificate["levels"]:
        for promise in level["promises"]:
            reasons = {f"{promise['verdict']}, {promise['why']}"} if promise["why"] else set()
            if promise["verdict"] == "kept":
                reasons = {f"not wholly run, {each['why']}" for each in promise["not_run"]}
            for reason in sorted(reasons):
                found[f"{level['level']}, {reason}"].append(promise["id"])
    return found

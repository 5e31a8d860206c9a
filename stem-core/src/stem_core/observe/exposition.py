"""Metrics as Prometheus reads them: its text format, version 0.0.4."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Final

from stem_core.observe.families import BUCKETS_S, FAMILIES, Family, Row

__all__ = ["CONTENT_TYPE", "exposition"]

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_ESCAPES: Final = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
_ENDS: Final = (*(f"{end:g}" for end in BUCKETS_S), "+Inf")


def exposition(rows: Iterable[Row]) -> str:
    """Return *rows* as a page: a family after the other, each under its help and its type."""
    by_family: Mapping[str, list[Row]] = {name: [] for name in FAMILIES}
    for row in rows:
        by_family[row.family].append(row)
    lines: list[str] = []
    for name, found in by_family.items():
        if found:
            lines += _family(FAMILIES[name], found)
    return "\n".join([*lines, ""])


def _family(family: Family, rows: Iterable[Row]) -> Iterator[str]:
    yield f"# HELP {family.name} {family.help}"
    yield f"# TYPE {family.name} {family.kind}"
    for row in rows:
        pairs = ",".join(map(_pair, family.labels, row.labels))
        if family.kind == "histogram":
            yield from _histogram(family.name, pairs, row)
        else:
            yield f"{family.name}{_braced(pairs)} {_number(row.numbers[0])}"


def _histogram(name: str, pairs: str, row: Row) -> Iterator[str]:
    *counts, total_s = row.numbers
    before = f"{name}_bucket{{{pairs}{',' if pairs else ''}le="
    seen = list(accumulate(counts))
    for end, count in zip(_ENDS, seen, strict=True):
        yield f'{before}"{end}"}} {_number(count)}'
    yield f"{name}_sum{_braced(pairs)} {_number(total_s)}"
    yield f"{name}_count{_braced(pairs)} {_number(seen[-1])}"


def _braced(pairs: str) -> str:
    return f"{{{pairs}}}" if pairs else ""


def _pair(name: str, value: str) -> str:
    return f'{name}="{value.translate(_ESCAPES)}"'


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)

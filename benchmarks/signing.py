"""Measure what a signature costs a task, beside an unsigned one and the libraries alone.

Interleaved: each round times every row once, and the table shows medians and ranges. CPU time
of one thread, since nothing here waits.

    python signing.py [--rounds 7] [--page RESULTS-SIGNING.md]
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from stem_core import Stem
from stem_core.model.settings import StemConfig
from stem_core.producer.registry import TaskRegistry

CALLS = 3_000
BODY = os.urandom(300)

registry = TaskRegistry()


@registry.task(name="shop.charge")
async def charge(customer: str, amount: int) -> None: ...


def signed_by(kind: str) -> Stem:
    """Return a Stem with a new key of *kind*, and whose worker accepts what it sends."""
    if kind == "unsigned":
        return Stem("memory://", registry=registry, config=StemConfig())
    folder = Path(tempfile.mkdtemp())
    generate = f"stem keys generate {folder}/keys.toml --algorithm {kind} > {folder}/said 2>&1"
    if os.system(generate) != 0:
        raise SystemExit((folder / "said").read_text())
    config = StemConfig.from_environment(
        {"STEM_BROKER_URL": "memory://", "STEM_SIGNER_URL": f"{kind}+file://{folder}/keys.toml"}
    )
    return Stem(registry=registry, config=config)


def pipeline(kind: str) -> Callable[[], object]:
    """Return one task's way through the pipeline: prepared and signed, verified and opened."""
    stem = signed_by(kind)
    way = stem.pipeline
    call = stem.call("shop.charge", {"customer": "cust_123", "amount": 4200})
    return lambda: way.open_message(way.prepare(call))


def hmac_alone() -> Callable[[], object]:
    key = os.urandom(32)
    return lambda: [hmac.digest(key, BODY, hashlib.sha256) for _ in range(2)]


def ed25519_alone() -> Callable[[], object]:
    key = Ed25519PrivateKey.generate()
    public = key.public_key()
    return lambda: public.verify(key.sign(BODY), BODY)


def us(work: Callable[[], object]) -> float:
    """Return microseconds of CPU for one call."""
    started = time.process_time()
    for _ in range(CALLS):
        work()
    return (time.process_time() - started) / CALLS * 1e6


ROWS: Mapping[str, Callable[[], Callable[[], object]]] = {
    "a task, unsigned": lambda: pipeline("unsigned"),
    "a task, hmac-sha256": lambda: pipeline("hmac-sha256"),
    "a task, ed25519": lambda: pipeline("ed25519"),
    "two codes of hmac, the library alone": hmac_alone,
    "signing and verifying with ed25519, the library alone": ed25519_alone,
}


def measured(rounds: int) -> dict[str, list[float]]:
    works = {name: make() for name, make in ROWS.items()}
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            times[name].append(us(work))
    return times


def table(times: Mapping[str, list[float]]) -> str:
    plain = statistics.median(times["a task, unsigned"])
    lines = [
        "| what | µs of CPU, median (range) | more than an unsigned task, µs |",
        "| --- | --- | --- |",
    ]
    for name, all_of_it in times.items():
        middle = statistics.median(all_of_it)
        more = f"{middle - plain:.1f}" if name.startswith("a task, ") else "–"
        told = f"{middle:.1f} ({min(all_of_it):.1f}–{max(all_of_it):.1f})"
        lines.append(f"| {name} | {told} | {more} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what a signature costs a task.")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--page", type=Path, help="write the table there")
    asked = parser.parse_args()
    told = table(measured(asked.rounds))
    print(told)
    if asked.page:
        about = (
            f"stem-signing {version('stem-signing')}, cryptography {version('cryptography')}, "
            f"CPython {platform.python_version()}, {asked.rounds} rounds of {CALLS:,} calls"
        )
        asked.page.write_text(
            "# What a signature costs a task\n\nPrepared and signed by a producer, verified and "
            f"opened by a worker. {about}. Run: `nox -s bench -- signing`.\n\n{told}\n",
            "utf-8",
        )


if __name__ == "__main__":
    main()

"""Prove every store that is there, and write what came of it on a page.

python -m promises.write PAGE
"""

from __future__ import annotations

import json
import os
import platform
import random
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from promises.filling import filled
from promises.page import rendered, written
from promises.stores import SIGNERS, STORES, Store

from stem_core.discovery.host import PluginHost
from stem_core.testing.contract.promise import sentences

ROOT = Path(__file__).parents[2]
CONFORMANCE = ROOT / "tests" / "conformance"
_VERDICTS = (0, 1)
"""How `stem certify` ends when it has come to one."""


def main(page: Path) -> int:
    """Write the generated part of *page*; return 1 if a promise is broken."""
    seed = random.SystemRandom().randrange(1, 1 << 32)
    here = [store for store in STORES if is_built(store)]
    absent = {store.name: "Its broker is not built yet." for store in STORES if store not in here}
    certificates = {store.name: of_store(store, seed) for store in here}
    signers = {algorithm: of_signer(algorithm, seed) for algorithm in SIGNERS}
    part = rendered(certificates, sentences(), absent, header(certificates, seed), signers)
    page.write_text(written(page.read_text("utf-8"), part), "utf-8")
    print(f"{page} is written")
    every = [*certificates.values(), *signers.values()]
    return int(not all(each["certified"] for each in every))


def is_built(store: Store) -> bool:
    """Say whether a plugin opens *store*."""
    return PluginHost().offers("broker", store.scheme)


def of_store(store: Store, seed: int) -> dict[str, Any]:
    """Return the certificate of *store*, in a folder and on a server of its own."""
    with store.running() as url, TemporaryDirectory() as folder:
        certificate = certified(store.name, folder, url, "--seed", str(seed))
        return filled(certificate, proven(store, Path(folder) / "report"))


def proven(store: Store, report: Path) -> list[dict[str, Any]]:
    """Run the tests of our own that try more of *store*; return what they report."""
    tests = [str(CONFORMANCE / proof) for proof in store.proofs]
    plugin = ("-p", "stem_core.testing.conformance.report", f"--stem-report={report}")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", *plugin, *tests]
    run = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if run.returncode not in _VERDICTS:
        raise SystemExit(f"{store.name}: no proof; the page stays as it is\n{run.stdout}")
    lines = [json.loads(line) for line in report.read_text("utf-8").splitlines()]
    return [line for line in lines if line["kind"] == "trial"]


def of_signer(algorithm: str, seed: int) -> dict[str, Any]:
    """Return the certificate of a signer with a new key, and one that has its public half."""
    with TemporaryDirectory() as folder:
        keys, public = Path(folder) / "keys.toml", Path(folder) / "public.toml"
        stem(folder, "keys", "generate", str(keys), "--algorithm", algorithm)
        given = [f"{algorithm}+file://{keys}", "--seed", str(seed)]
        if algorithm == "ed25519":
            public.write_text(stem(folder, "keys", "public", "--file", str(keys)).stdout)
            given += ["--verifier", f"{algorithm}+file://{public}"]
        return certified(algorithm, folder, *given)


def certified(name: str, folder: str, *given: str) -> dict[str, Any]:
    """Return what `stem certify` says of *given*."""
    print(f"{name} …", flush=True)
    run = stem(folder, "certify", *given, "--json")
    if run.returncode not in _VERDICTS or not run.stdout:
        raise SystemExit(f"{name}: no verdict; the page stays as it is")
    verdict: dict[str, Any] = json.loads(run.stdout)
    return verdict


def stem(folder: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the program in *folder*."""
    command = [sys.executable, "-m", "stem_core", *words]
    return subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, text=True)


def header(certificates: Mapping[str, Mapping[str, Any]], seed: int) -> dict[str, str]:
    """Return when and where this was, by what."""
    versions = next(iter(certificates.values()))["versions"]
    told = [f"stem-core {versions['stem-core']}", f"Python {versions['python']}"]
    told += [f"{name} {version}" for name, version in versions["plugins"].items()]
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": f"{os.cpu_count()} cores, {platform.system()}",
        "versions": ", ".join([*told, f"SQLite {sqlite3.sqlite_version}"]),
        "seed": str(seed),
    }


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))

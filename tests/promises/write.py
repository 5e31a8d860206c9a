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

from promises.page import rendered, written
from promises.stores import STORES, Store

from stem_core.testing.contract.promise import sentences

_VERDICTS = (0, 1)
"""How `stem certify` ends when it has come to one."""


def main(page: Path) -> int:
    """Write the generated part of *page*; return 1 if a promise is broken."""
    seed = random.SystemRandom().randrange(1, 1 << 32)
    urls = {store: store.found(os.environ) for store in STORES}
    certificates = {store.name: certified(store, url, seed) for store, url in urls.items() if url}
    absent = {
        store.name: f"{store.variable} names no server." for store, url in urls.items() if not url
    }
    part = rendered(certificates, sentences(), absent, header(certificates, seed))
    page.write_text(written(page.read_text("utf-8"), part), "utf-8")
    print(f"{page} is written")
    return int(not all(each["certified"] for each in certificates.values()))


def certified(store: Store, url: str, seed: int) -> dict[str, Any]:
    """Return what `stem certify` says of *store*."""
    print(f"{store.name} …", flush=True)
    with TemporaryDirectory() as folder:
        run = subprocess.run(
            [sys.executable, "-m", "stem_core", "certify", url, "--seed", str(seed), "--json"],
            cwd=folder,
            stdout=subprocess.PIPE,
            text=True,
        )
    if run.returncode not in _VERDICTS or not run.stdout:
        raise SystemExit(f"{store.name}: no verdict; the page stays as it is")
    verdict: dict[str, Any] = json.loads(run.stdout)
    return verdict


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

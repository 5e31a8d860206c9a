"""Freeze what a release leaves behind in each store: ``python -m mixed.freeze PYTHON FOLDER``.

PYTHON has the release installed. FOLDER must not exist: what was frozen is never changed.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mixed.dumps import POSTGRES_SCHEMA, dump
from mixed.scene import LONG, leave
from mixed.sides import Side, furnish
from services import postgres, redis

NAMESPACE = "golden"


def main(python: str, into: Path) -> None:
    """Freeze all stores into the new folder *into*."""
    into.mkdir(parents=True)
    known = {}
    for kind in ("sqlite", "redis", "postgres"):
        with tempfile.TemporaryDirectory() as folder, _url(kind, Path(folder)) as url:
            settings = {"STEM_BROKER_URL": url, "STEM_NAMESPACE": NAMESPACE, **LONG}
            settings["STEM_WORKER_NAME"] = "of-the-shop"
            side = Side("previous", python, Path(folder), settings)
            furnish(side.folder)
            if kind == "postgres":
                (into / "postgres.sql").write_text(side.stem("migrate", "sql", url), "utf-8")
                side.stem("migrate", "up", url)
            known[kind] = leave(side)
            text = dump(kind, url.partition("?")[0], NAMESPACE)
            (into / f"{kind}.{'sql' if kind == 'sqlite' else 'json'}").write_text(text, "utf-8")
    (into / "known.json").write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", "utf-8")


@contextmanager
def _url(kind: str, folder: Path) -> Iterator[str]:
    if kind == "sqlite":
        yield f"sqlite:///{folder}/tasks.db"
        return
    available = {"redis": redis.available, "postgres": postgres.available}[kind]
    with available() as server:
        yield server.url + (f"?schema={POSTGRES_SCHEMA}" if kind == "postgres" else "")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))

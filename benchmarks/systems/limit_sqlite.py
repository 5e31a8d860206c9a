"""The limit: sqlite3 alone, one thread, one narrow table, no promise about tasks at all.

python limit_sqlite.py throughput COUNT full|normal
"""

from __future__ import annotations

import sqlite3
import sys
import tempfile
from contextlib import closing

from measure import Figures, arguments

BODY = b"x" * 200


def throughput(connection: sqlite3.Connection, count: int) -> None:
    figures = Figures()
    singles = count // 5
    insert = "INSERT INTO task (body) VALUES (?)"
    with figures.rate("enqueue_per_s", singles):
        for _ in range(singles):
            connection.execute(insert, (BODY,))
    with figures.rate("enqueue_many_per_s", count):
        for _ in range(count // 500):
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(insert, [(BODY,)] * 500)
            connection.execute("COMMIT")
    take = "DELETE FROM task WHERE id IN (SELECT id FROM task ORDER BY id LIMIT 100) RETURNING body"
    with figures.rate("drain_per_s", count + singles):
        while connection.execute(take).fetchall():
            pass
    figures.show()


def main() -> None:
    _, count = arguments()
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/bench.db"
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            mode = "FULL" if sys.argv[3] == "full" else "NORMAL"
            connection.execute(f"PRAGMA synchronous = {mode}")
            connection.execute("CREATE TABLE task (id INTEGER PRIMARY KEY, body BLOB)")
            throughput(connection, count)


if __name__ == "__main__":
    main()

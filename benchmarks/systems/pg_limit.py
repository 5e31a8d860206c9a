"""The limit: psycopg, one narrow table; no promise about tasks at all."""

from __future__ import annotations

import time

import psycopg
import redis_tally as tally

BODY = b"x" * 200
BATCH, TAKEN = 500, 500
TABLES = """
CREATE TABLE nothing (id bigserial PRIMARY KEY, body bytea NOT NULL);
CREATE TABLE one (LIKE nothing INCLUDING ALL);
CREATE TABLE mark (LIKE nothing INCLUDING ALL);
CREATE TABLE result (id bigint PRIMARY KEY, value bytea NOT NULL);
"""
TAKE = """
DELETE FROM {0} WHERE id = ANY (ARRAY(
    SELECT id FROM {0} ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED
)) RETURNING id, body
"""
KEEP = """
WITH taken AS (
    DELETE FROM one WHERE id = ANY (ARRAY(
        SELECT id FROM one ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED
    )) RETURNING id, body
), kept AS (INSERT INTO result SELECT id, '1' FROM taken)
SELECT id, body FROM taken
"""
STATEMENTS = {"nothing": TAKE.format("nothing"), "one": KEEP}


async def open() -> None:
    global connection
    connection = psycopg.connect(tally.URL, autocommit=True)
    connection.execute(TABLES)


async def enqueue(name: str, count: int) -> None:
    insert = f"INSERT INTO {name} (body) VALUES (%b)"
    for _ in range(count):
        connection.execute(insert, (BODY,))
    if name == "mark":
        connection.execute("NOTIFY work")


async def enqueue_many(name: str, count: int) -> None:
    insert = f"INSERT INTO {name} (body) SELECT unnest(%b::bytea[])"
    while count > 0:
        connection.execute(insert, ([BODY] * min(count, BATCH),))
        count -= BATCH


async def close() -> None:
    """The process ends."""


def serve() -> None:
    """Take what waits in batches; with the results, write each in the same statement."""
    connection = psycopg.connect(tally.URL, autocommit=True)
    while True:
        for take in STATEMENTS.values():
            while taken := connection.execute(take, (TAKEN,), binary=True).fetchall():
                for _ in taken:
                    tally.count()
        _hear(connection)


def _hear(connection: psycopg.Connection) -> None:
    """Be told of one after the other, until nothing is told for a second."""
    connection.execute("LISTEN work")
    until = time.monotonic() + 1
    while time.monotonic() < until:
        for _ in connection.execute(TAKE.format("mark"), (TAKEN,), binary=True):
            tally.mark()
            until = time.monotonic() + 1
        list(connection.notifies(timeout=until - time.monotonic(), stop_after=1))
    connection.execute("UNLISTEN work")

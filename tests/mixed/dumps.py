"""What a store holds, as a text that git can keep and a person can read; and back.

Rule of this module: it knows the stores by the words of their own clients, and nothing of Stem.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg
import redis
from psycopg import sql

__all__ = ["POSTGRES_SCHEMA", "dump", "restore"]

POSTGRES_SCHEMA = "stem_golden"
"""The schema of the dump: on a server that others use too, it is nobody else's."""

_READERS = {
    "string": lambda client, key: [("SET", key, client.get(key))],
    "hash": lambda client, key: [("HSET", key, *_flat(client.hgetall(key).items()))],
    "set": lambda client, key: [("SADD", key, *sorted(client.smembers(key)))],
    "list": lambda client, key: [("RPUSH", key, *client.lrange(key, 0, -1))],
    "zset": lambda client, key: [
        ("ZADD", key, *_flat((b"%.17g" % score, name) for name, score in _ranked(client, key)))
    ],
    "stream": lambda client, key: [
        ("XADD", key, id, *_flat(fields.items())) for id, fields in client.xrange(key)
    ],
}


def dump(kind: str, url: str, namespace: str) -> str:
    """Return what the store at *url* holds; of Redis the keys of *namespace* alone."""
    if kind == "sqlite":
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
            return "\n".join(connection.iterdump()) + "\n"
    if kind == "redis":
        return "".join(f"{line}\n" for line in _redis_lines(url, namespace))
    return json.dumps(_postgres_rows(url), indent=1) + "\n"


def restore(kind: str, url: str, text: str) -> None:
    """Let the store at *url* hold what *text* says; the tables of PostgreSQL are there."""
    if kind == "sqlite":
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
            connection.executescript(text)
    elif kind == "redis":
        with redis.Redis.from_url(url) as client:
            for line in text.splitlines():
                client.execute_command(*map(_bytes, json.loads(line)))
    else:
        _put_rows(url, json.loads(text))


# ── Redis: commands, a line each; bytes as the characters of the same numbers ──


def _redis_lines(url: str, namespace: str) -> Iterator[str]:
    with redis.Redis.from_url(url) as client:
        for key in sorted(client.scan_iter(f"{{{namespace}}}:*")):
            for command in _READERS[client.type(key).decode()](client, key):
                yield json.dumps([_text(word) for word in command])
            if (left_ms := client.pttl(key)) > 0:
                seconds, micros = client.time()
                at_ms = seconds * 1000 + micros // 1000 + left_ms
                yield json.dumps(["PEXPIREAT", _text(key), str(at_ms)])


def _flat(pairs: Any) -> list[Any]:
    return [word for pair in pairs for word in pair]


def _ranked(client: Any, key: bytes) -> Any:
    return client.zrange(key, 0, -1, withscores=True)


def _text(word: str | bytes) -> str:
    return word if isinstance(word, str) else word.decode("latin-1")


def _bytes(word: str) -> bytes:
    return word.encode("latin-1")


# ── PostgreSQL: rows as COPY writes them, and where the sequences stand ────────


def _postgres_rows(url: str) -> dict[str, Any]:
    with psycopg.connect(url) as connection:
        named = "SELECT {0} FROM pg_catalog.{1} WHERE schemaname = %s ORDER BY 1"
        tables = _names(connection, sql.SQL(named), "tablename", "pg_tables")
        sequences = _names(connection, sql.SQL(named), "sequencename", "pg_sequences")
        return {
            "tables": {table: _copied(connection, table) for table in tables},
            "sequences": {name: _last(connection, name) for name in sequences},
        }


def _names(connection: Any, query: sql.SQL, column: str, catalogue: str) -> list[str]:
    said = query.format(sql.Identifier(column), sql.Identifier(catalogue))
    return [name for (name,) in connection.execute(said, (POSTGRES_SCHEMA,))]


def _copied(connection: Any, table: str) -> list[str]:
    """Return the names of the columns, and the rows."""
    copy = sql.SQL("COPY {} TO STDOUT WITH (FORMAT text, HEADER)").format(_of(table))
    with connection.cursor().copy(copy) as rows:
        return b"".join(rows).decode().removesuffix("\n").split("\n")


def _last(connection: Any, sequence: str) -> list[Any]:
    said = sql.SQL("SELECT last_value, is_called FROM {}").format(_of(sequence))
    return list(connection.execute(said).fetchone())


def _put_rows(url: str, found: dict[str, Any]) -> None:
    with psycopg.connect(url) as connection:
        for table, (header, *rows) in found["tables"].items():
            connection.execute(sql.SQL("DELETE FROM {}").format(_of(table)))
            columns = sql.SQL(", ").join(map(sql.Identifier, header.split("\t")))
            into = sql.SQL("COPY {} ({}) FROM STDIN").format(_of(table), columns)
            with connection.cursor().copy(into) as copy:
                copy.write("".join(f"{row}\n" for row in rows))
        for sequence, (last, is_called) in found["sequences"].items():
            name = _of(sequence).as_string(connection)
            connection.execute("SELECT setval(%s, %s, %s)", (name, last, is_called))


def _of(name: str) -> sql.Identifier:
    return sql.Identifier(POSTGRES_SCHEMA, name)

"""The SQL of the store: found, named by its schema, and nothing else in it touched."""

from __future__ import annotations

import re

import pytest

from stem_core.plugin import StoreMisconfigured
from stem_postgres.schema import LATEST, check_version, script
from stem_postgres.statements import for_schema, functions, statements, steps

WHERE = "postgresql://db/shop"


def test_every_statement_is_about_the_schema_that_was_asked_for():
    for name, text in statements("tasks").items():
        assert "stem." not in text.decode(), name


def test_another_schema_changes_names_and_nothing_else():
    text = "SELECT stem.now_ms(1), 'stem.%1$I', nextval('stem.turn') -- about stem."
    changed = for_schema(text, "tasks")
    assert changed.count('"tasks".') == 3
    assert changed.replace('"tasks".', "stem.") == text


def test_calls_take_as_many_values_as_their_functions_have_parameters():
    made = functions()
    for name in ("publish", "fetch", "extend", "settle", "cancel", "replay", "discard", "acquire"):
        declared = re.search(rf"FUNCTION stem\.{name}\(([^)]*)\)", made)
        assert declared is not None
        call = statements("stem")[f"calls.{name}"].decode()
        given = call[call.index(f".{name}(") :]
        assert given.count("::") == declared[1].count(",") + 1, name


def test_the_script_begins_with_what_is_missing_and_ends_with_the_version():
    whole = script(0, "tasks", ["CREATE TABLE stem.a ();", "CREATE TABLE stem.b ();"])
    assert whole.startswith('CREATE SCHEMA IF NOT EXISTS "tasks"')
    assert 'TABLE "tasks".a' in whole
    assert whole.rstrip().endswith("SET version = 2;")
    second = script(1, "tasks", ["CREATE TABLE stem.a ();", "CREATE TABLE stem.b ();"])
    assert 'TABLE "tasks".a' not in second
    assert "CREATE SCHEMA" not in second


def test_there_is_nothing_to_do_at_the_latest_version():
    assert script(LATEST, "stem") == ""
    assert len(steps()) == LATEST


@pytest.mark.parametrize(
    ("version", "says"),
    [(None, "stem migrate up"), (LATEST - 1, "stem migrate up"), (LATEST + 1, "Upgrade stem-")],
)
def test_tables_of_another_version_are_refused_with_the_way_out(version: int | None, says: str):
    with pytest.raises(StoreMisconfigured, match=says):
        check_version(version, WHERE, "stem")


def test_tables_of_this_version_are_fine():
    check_version(LATEST, WHERE, "stem")

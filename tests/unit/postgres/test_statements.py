"""The SQL of the store: found, named by its schema, and nothing else in it touched."""

from __future__ import annotations

import re
from hashlib import sha256
from pathlib import Path

import pytest
from attrs import evolve

from stem_core.plugin import StoreMisconfigured
from stem_postgres.schema import LATEST, Schema, check_schema, script
from stem_postgres.statements import for_schema, functions, plain, statements, steps

WHERE = "postgresql://db/shop"
ROOT = Path(__file__).parents[3]
STEPS = ROOT / "tests" / "golden" / "postgres-steps.txt"
CHANGELOG = ROOT / "CHANGELOG.md"


def sealed(release: str, digest: str = "0123456789abcdef") -> str:
    return f"functions of stem-postgres {release}, {digest}"


SEAL = re.search("COMMENT ON .* IS '(.*)'", script(Schema(0), "stem"))
assert SEAL is not None
OURS = Schema(LATEST, SEAL[1])


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
    whole = script(Schema(0), "tasks", ["CREATE TABLE stem.a ();", "CREATE TABLE stem.b ();"])
    assert whole.startswith('CREATE SCHEMA IF NOT EXISTS "tasks"')
    assert 'TABLE "tasks".a' in whole
    assert whole.rstrip().endswith("SET version = 2;")
    second = script(Schema(1), "tasks", ["CREATE TABLE stem.a ();", "CREATE TABLE stem.b ();"])
    assert 'TABLE "tasks".a' not in second
    assert "CREATE SCHEMA" not in second


def test_there_is_nothing_to_do_at_the_latest_version():
    assert script(OURS, "stem") == ""
    assert len(steps()) == LATEST


@pytest.mark.parametrize(
    ("version", "says"),
    [(None, "stem migrate up"), (LATEST - 1, "stem migrate up"), (LATEST + 1, "Upgrade stem-")],
)
def test_tables_of_another_version_are_refused_with_the_way_out(version: int | None, says: str):
    found = None if version is None else evolve(OURS, version=version)
    with pytest.raises(StoreMisconfigured, match=says):
        check_schema(found, WHERE, "stem")


def test_tables_and_functions_of_this_release_are_fine():
    check_schema(OURS, WHERE, "stem")


@pytest.mark.parametrize("seal", ["", "of somebody else", sealed("0.0.9"), sealed("0")])
def test_functions_of_an_earlier_release_are_refused_and_made_anew(seal: str):
    earlier = Schema(LATEST, seal)
    with pytest.raises(StoreMisconfigured, match="stem migrate up"):
        check_schema(earlier, WHERE, "stem")
    made = script(earlier, "tasks")
    assert 'FUNCTION "tasks".publish' in made
    assert "CREATE TABLE" not in made


@pytest.mark.parametrize("release", ["99.0.0", "0.100.0", "1.0rc1"])
def test_functions_of_a_newer_release_serve_this_one_and_are_left_alone(release: str):
    newer = Schema(LATEST, sealed(release))
    check_schema(newer, WHERE, "stem")
    assert script(newer, "tasks") == ""
    steps_only = script(evolve(newer, version=LATEST - 1), "tasks")
    assert f"SET version = {LATEST}" in steps_only
    assert 'FUNCTION "tasks".publish' not in steps_only


def test_comments_and_the_look_of_functions_make_no_difference():
    assert plain("A  -- so\n  B;") == plain("A B;")


def test_a_released_step_is_never_changed():
    """It was run where it was released: a change of it belongs into a step of its own."""
    kept = dict(
        line.split() for line in STEPS.read_text("utf-8").splitlines() if not line.startswith("#")
    )
    found = {f"{n:04}": sha256(text.encode()).hexdigest() for n, text in enumerate(steps(), 1)}
    assert {number: found[number] for number in kept} == kept
    released = "(not released)" not in CHANGELOG.read_text("utf-8")
    assert not released or kept == found, f"write the digests of the new steps into {STEPS}"

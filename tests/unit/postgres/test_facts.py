"""What a server says of itself, and what follows."""

from __future__ import annotations

import pytest

from stem_core.plugin import Durability, Fault, StoreError
from stem_postgres.facts import Facts, facts_of

WHERE = "postgresql://db/shop"


def facts(**fields: object) -> Facts:
    return Facts(**{"version": 150_004, "name": "PostgreSQL 15.4", **fields})  # type: ignore[arg-type]


def test_a_row_of_facts_is_read():
    found = facts_of((180_001, "18.1", "UTF8", "on", "on", False, 5000, "1", "2", "3", True))
    assert (found.version, found.name, found.identity) == (180_001, "PostgreSQL 18.1", "1:2:3")
    assert found.durability is Durability.SYNCED


@pytest.mark.parametrize(("fsync", "synchronous"), [("off", "on"), ("on", "off")])
def test_a_server_that_confirms_early_is_not_called_durable(fsync: str, synchronous: str):
    row = (150_004, "15.4", "UTF8", fsync, synchronous, False, 5000, "1", "2", "3", True)
    found = facts_of(row)
    assert found.durability is Durability.CACHED
    assert "power cut" in "".join(found.worth_saying(WHERE))


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"version": 130_009}, "too old"),
        ({"encoding": "SQL_ASCII"}, "SQL_ASCII"),
        ({"is_standby": True}, "standby"),
    ],
)
def test_a_server_where_tasks_are_not_safe_is_refused(fields: dict[str, object], says: str):
    with pytest.raises(StoreError, match=says):
        facts(**fields).check(WHERE)


def test_a_session_in_which_our_limit_has_not_arrived_is_a_poolers():
    row = (180_001, "18.1", "UTF8", "on", "on", False, 5000, "1", "2", "3", True)
    facts_of(row).check_session(WHERE, 5000)
    with pytest.raises(StoreError, match="pooler=true") as caught:
        facts_of(row).check_session(WHERE, 7000)
    assert caught.value.fault is Fault.FATAL_CONFIG


def test_a_common_server_is_fine():
    facts().check(WHERE)
    assert not list(facts().worth_saying(WHERE))

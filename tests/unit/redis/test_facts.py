"""What a server says of itself decides whether tasks are safe there."""

from __future__ import annotations

import pytest

from stem_core.plugin import Durability, StoreMisconfigured
from stem_redis.facts import Facts, facts_of

INFO = """# Server
redis_version:7.2.4
server_name:valkey
valkey_version:9.1.2
run_id:abc
role:master
maxmemory_policy:noeviction
aof_enabled:1
"""


def facts(old: str = "", new: str = "", fsync: str = "everysec") -> Facts:
    return facts_of(INFO.replace(old, new) if old else INFO, fsync)


def test_a_server_is_read_as_it_describes_itself():
    assert facts() == Facts(
        run_id="abc", version=(7, 2), name="Valkey 9.1.2", policy="noeviction", has_log=True,
    )  # fmt: skip
    assert facts().reads_shebangs
    assert not facts("redis_version:7.2.4", "redis_version:6.2.14").reads_shebangs


@pytest.mark.parametrize(
    ("log", "fsync", "durability"),
    [
        ("0", "always", Durability.MEMORY),
        ("1", "everysec", Durability.CACHED),
        ("1", "", Durability.CACHED),
        ("1", "always", Durability.SYNCED),
    ],
)
def test_durability_is_what_the_server_is_set_up_for(log: str, fsync: str, durability: Durability):
    assert facts("aof_enabled:1", f"aof_enabled:{log}", fsync).durability is durability


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("redis_version:7.2.4", "redis_version:6.0.16", "too old"),
        ("role:master", "role:slave", "replica"),
        ("noeviction", "allkeys-lru", "allkeys-lru"),
        ("noeviction", "volatile-lru", "volatile-lru"),
    ],
)
def test_a_server_where_tasks_are_not_safe_is_refused(old: str, new: str, says: str):
    with pytest.raises(StoreMisconfigured, match=says) as refused:
        facts(old, new).check("redis://h", allow_eviction=False)
    assert refused.value.way_out


def test_eviction_can_be_accepted_and_is_told_at_start():
    evicting = facts("noeviction", "allkeys-lru")
    evicting.check("redis://h", allow_eviction=True)
    assert "throw tasks away" in " ".join(evicting.worth_saying("redis://h"))
    assert list(facts().worth_saying("redis://h")) == []


def test_a_server_without_a_log_is_told_at_start():
    said = " ".join(facts("aof_enabled:1", "aof_enabled:0").worth_saying("redis://h"))
    assert "appendonly yes" in said

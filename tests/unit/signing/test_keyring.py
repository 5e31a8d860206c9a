"""Which key signs, which ones verify, and for what."""

from __future__ import annotations

import pytest
from unit.signing.rings import OTHER, an_entry

from stem_signing.keyring import Keyring, State, Why

NOW_MS = 1_800_000_000_000


def test_the_only_key_that_can_sign_is_the_active_one() -> None:
    ring = Keyring.of([an_entry("old", "public", OTHER), an_entry("new")])
    assert ring.active is not None
    assert ring.active.id == "new"
    assert ring.key_ids == ("new", "old")


def test_public_keys_alone_make_a_ring_that_verifies() -> None:
    ring = Keyring.of([an_entry("one", "public")])
    assert ring.active is None
    assert ring.key_ids == ("one",)


def test_a_revoked_key_does_not_verify_and_is_not_forgotten() -> None:
    ring = Keyring.of([an_entry("old", data=OTHER, state=State.REVOKED), an_entry("new")])
    assert ring.key_ids == ("new",)
    assert ring.entries["old"].why_not(NOW_MS) is Why.REVOKED_KEY


@pytest.mark.parametrize(
    ("entries", "active", "why"),
    [
        ([], "", "no key that verifies"),
        ([an_entry(state=State.REVOKED)], "", "no key that verifies"),
        ([an_entry("a"), an_entry("a", data=OTHER)], "a", "key id a is given twice"),
        ([an_entry("a"), an_entry("b")], "a", "a and b are one key under several ids"),
        ([an_entry("a"), an_entry("b", data=OTHER)], "", r"several keys can sign \(a, b\)"),
        ([an_entry("a")], "b", "active key b is not in the list; there are: a"),
        ([an_entry("a", "public")], "a", "active key a is a public key"),
        (
            [an_entry("a", state=State.REVOKED), an_entry("b", data=OTHER)],
            "a",
            "active key a is revoked",
        ),
        ([an_entry("a", "secret")], "a", "active key a is of hmac-sha256, not ed25519"),
    ],
)
def test_a_ring_that_could_not_be_meant_is_refused(entries: list, active: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Keyring.of(entries, active=active, algorithm="ed25519")


def test_a_ring_may_verify_with_another_algorithm_than_it_signs_with() -> None:
    """So that a change of the algorithm refuses nothing that waits."""
    entries = [an_entry("old", "secret", OTHER), an_entry("new")]
    ring = Keyring.of(entries, active="new", algorithm="ed25519")
    assert ring.key_ids == ("new", "old")


@pytest.mark.parametrize(
    ("now_ms", "why"),
    [
        (NOW_MS - 60_001, Why.NOT_YET_VALID),
        (NOW_MS - 60_000, None),  # the clock of who signs may be a minute ahead
        (NOW_MS, None),
        (NOW_MS + 999, None),
        (NOW_MS + 1000, Why.EXPIRED),
    ],
)
def test_a_key_counts_within_its_time(now_ms: int, why: Why | None) -> None:
    entry = an_entry(valid_from_ms=NOW_MS, valid_until_ms=NOW_MS + 1000)
    assert entry.why_not(now_ms) is why


@pytest.mark.parametrize(
    ("scope", "task", "queue", "may"),
    [
        ({}, "any.thing", "any", True),
        ({"queues": ("billing",)}, "any.thing", "billing", True),
        ({"queues": ("billing",)}, "any.thing", "billing2", False),
        ({"tasks": ("billing.*",)}, "billing.charge", "any", True),
        ({"tasks": ("billing.*",)}, "billing", "any", False),
        ({"tasks": ("billing.*",)}, "my.billing.charge", "any", False),
        ({"tasks": ("a", "b.*")}, "b.c", "any", True),
        ({"queues": ("q",), "tasks": ("a",)}, "a", "other", False),
        ({"queues": ("q",), "tasks": ("a",)}, "b", "q", False),
    ],
)
def test_a_key_vouches_for_its_queues_and_tasks(
    scope: dict, task: str, queue: str, may: bool
) -> None:
    assert an_entry(**scope).vouches_for(task, queue) is may

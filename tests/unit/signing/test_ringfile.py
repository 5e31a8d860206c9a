"""The key file says everything about its keys, or it is refused."""

from __future__ import annotations

import base64
import re

import pytest
from unit.signing.rings import OTHER, SECRET, an_entry

from stem_signing.keyring import State
from stem_signing.ringfile import RingFile, read_ring, written

KEY = base64.b64encode(SECRET).decode()


def test_what_was_written_is_read() -> None:
    file = RingFile(
        (
            an_entry("2025-06"),
            an_entry("shop.1", "secret", OTHER, queues=("billing",), tasks=("billing.*", "a")),
            an_entry(
                "old",
                "public",
                SECRET[::-1],
                state=State.REVOKED,
                valid_from_ms=1_700_000_000_000,
                valid_until_ms=1_800_000_000_500,
            ),
        ),
        "2025-06",
    )
    again = read_ring(written(file))
    assert written(again) == written(file)
    assert [facts(each) for each in again.entries] == [facts(each) for each in file.entries]
    assert again.active == "2025-06"


def facts(entry) -> tuple:
    scope = (entry.queues, entry.tasks, entry.valid_from_ms, entry.valid_until_ms)
    return (entry.id, entry.state, entry.key.kind, entry.key.fingerprint, *scope)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("keys = ", "it is not TOML, from line 1 on"),
        (f'[keys.a]\nsecret = "{KEY}"\nsecret = "{KEY}"', "not TOML, from line 3 on"),
        (f'[keys.a]\nsecret = "{KEY}"\n[keys.a]\nsecret = "{KEY}"', "not TOML, from line 3 on"),
        ('keyz = "x"', "more than `active` and"),
        ("keys = 7", "expected one table for each key"),
        ("active = 7", "active: expected the id of a key"),
        ("[keys.'a b']", "the id of a key may have"),
        ("[keys]\na = 7", "keys.a: expected a table"),
        ("[keys.a]\nstate = 'revoked'", "keys.a: expected exactly one of secret, private, public"),
        (f'[keys.a]\nsecret = "{KEY}"\npublic = "{KEY}"', "exactly one of"),
        (f'[keys.a]\nsecret = "{KEY}"\nsate = "revoked"', "keys.a: it has another field than"),
        (f'[keys.a]\nsecret = "{KEY}"\nstate = "active"', "state: expected"),
        (f'[keys.a]\nsecret = "{KEY}"\nstate = []', "state: expected"),
        ("[keys.a]\nsecret = 7", "keys.a: secret: expected base64 in quotes"),
        ('[keys.a]\nsecret = "####"', "keys.a: the key is not base64"),
        (f'[keys.a]\nsecret = "{KEY[:-1]}"', "the key is not base64"),
        ('[keys.a]\nsecret = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWZ="', "not canonical"),
        ('[keys.a]\nsecret = ""', "the key is empty"),
        (f'[keys.a]\nsecret = "{KEY}"\nqueues = "q"', "queues: expected a list"),
        (f'[keys.a]\nsecret = "{KEY}"\nqueues = ["a b"]', "queues: expected names"),
        (f'[keys.a]\nsecret = "{KEY}"\ntasks = []', "tasks: an empty list would allow nothing"),
        (f'[keys.a]\nsecret = "{KEY}"\ntasks = ["[a]"]', "expected patterns of task names"),
        (f'[keys.a]\nsecret = "{KEY}"\nvalid_until = 2026-01-01', "valid_until: expected an inst"),
        (
            f'[keys.a]\nsecret = "{KEY}"\nvalid_until = 2026-01-01T00:00:00',
            "valid_until: expected an instant with a time zone",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused_by_its_field_and_no_value_is_repeated(
    text: str, why: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(why)) as caught:
        read_ring(text)
    assert KEY[:8] not in str(caught.value)
    assert caught.value.__cause__ is None

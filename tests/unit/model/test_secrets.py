from __future__ import annotations

import copy
import pickle
import traceback
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stem_core.model.secrets import Secret, is_secret_name, redact

PASSWORD = "hunter2/§"


@attrs.frozen
class Holder:
    password: Secret[str]


@pytest.mark.parametrize(
    "show",
    [
        repr,
        str,
        format,
        "{:>20}".format,
        "%s".__mod__,
        lambda secret: repr([secret]),
        lambda secret: repr(Holder(secret)),
        lambda secret: repr(attrs.asdict(Holder(secret))),
        lambda secret: repr(copy.deepcopy(Holder(secret))),
    ],
)
def test_a_secret_shows_nothing_of_itself(show: Any) -> None:
    text = show(Secret(PASSWORD))
    assert "***" in text
    assert "hunter2" not in text


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_secret_does_not_travel_in_a_pickle(protocol: int) -> None:
    with pytest.raises(TypeError, match="does not travel") as caught:
        pickle.dumps(Secret(PASSWORD), protocol)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


def test_a_secret_has_no_attributes_to_stumble_on() -> None:
    secret = Secret(PASSWORD)
    assert not hasattr(secret, "__dict__")
    with pytest.raises(TypeError, match="does not travel"):
        secret.__getstate__()


def test_only_reveal_gives_the_value() -> None:
    assert Secret(PASSWORD).reveal() == PASSWORD
    assert Secret(b"\0").reveal() == b"\0"


def test_secrets_are_equal_by_value_and_kind() -> None:
    assert Secret("a") == Secret("a")
    assert hash(Secret("a")) == hash(Secret("a"))
    assert Secret("a") != Secret("b")
    assert Secret("a") != Secret(b"a")
    assert Secret("a") != "a"
    assert Secret("§") == Secret("§")


def test_an_empty_secret_is_false() -> None:
    assert not Secret("")
    assert Secret("x")


@pytest.mark.parametrize(
    "text",
    [
        "login hunter2/§ failed",
        "at redis://u:hunter2%2F%C2%A7@h",
        "hunter2/%C2%A7",
        "hunter2/§hunter2/§",
    ],
)
def test_redacting_finds_the_spellings_of_a_secret(text: str) -> None:
    assert "hunter2" not in redact(text, Secret(PASSWORD), None, Secret(""))


def test_redacting_finds_bytes_in_base64() -> None:
    assert redact("key AAEC+/8= used", Secret(b"\0\1\2\xfb\xff")) == "key *** used"


@given(st.text(st.sampled_from("abc ")), st.text(st.sampled_from("XYZ/§ "), min_size=1))
def test_a_redacted_text_does_not_hold_the_secret(text: str, secret: str) -> None:
    held = redact(f"{text}{secret}{text}", Secret(secret))
    assert not set(held) & (set(secret) - set(text))


@pytest.mark.parametrize(
    "name", ["password", "sslpassword", "API_KEY", "auth", "sentinel_token", "pwd"]
)
def test_names_of_secrets_are_known(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize("name", ["db", "timeout", "kid", "schema", ""])
def test_other_names_are_not_secret(name: str) -> None:
    assert not is_secret_name(name)

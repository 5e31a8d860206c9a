"""A URL that is wrong in any way is refused, or fails, without a word of its secrets."""

from __future__ import annotations

import asyncio
import logging
import os
import traceback

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from stem_core import Stem
from stem_core.cli import main

SECRET = "Qz7XkW9v"
SCHEMES = ["postgresql", "pg", "redis", "rediss", "sqlite", "memory", "none", "postgre", "my-sql"]
PLACES = [
    "{scheme}://u:{secret}@127.0.0.1:1/0",
    "{scheme}://u:{secret}@127.0.0.1:x/0",
    "{scheme}://:{secret}@127.0.0.1:1,127.0.0.1:1",
    "{scheme}://u@127.0.0.1:1/0?pasword={secret}",
    "{scheme}://u@127.0.0.1:1/0?options={secret}&timeout=soon",
    "{scheme}://u@127.0.0.1:1/0?password={secret}",
    "{scheme}://u:p@127.0.0.1:1/0?password={secret}",
    "{scheme}://u@127.0.0.1:1/0?password={secret}&password=2",
    "{scheme}:///x?tokn={secret}",
]
NOISE = st.text(st.sampled_from("@:/?#=+ %~'\\\"[]\n"), max_size=3)


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("STEM_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("STEM_PUBLISH_DEADLINE", "100ms")


def told(url: str) -> str:
    """Return all that is said of *url* by whoever opens it."""
    said = []
    try:
        stem = Stem(url)
        said.append(repr(stem))

        async def use() -> None:
            async with stem:
                await stem.enqueue("a")

        asyncio.run(use())
    except Exception as error:
        said += [str(error), repr(error), *traceback.format_exception(error)]
    return "\n".join(said)


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.sampled_from(SCHEMES), st.sampled_from(PLACES), NOISE, NOISE)
@example("postgresql", PLACES[3], "", "")
@example("postgresql", PLACES[4], "", "")
def test_no_form_of_a_url_lets_a_secret_out(
    caplog: pytest.LogCaptureFixture, scheme: str, place: str, before: str, after: str
):
    caplog.clear()
    with caplog.at_level(logging.DEBUG, logger="stem"):
        said = told(place.format(scheme=scheme, secret=before + SECRET + after))
    assert SECRET not in said + caplog.text


@pytest.mark.parametrize("scheme", ["postgresql", "redis"])
@pytest.mark.parametrize("place", PLACES)
def test_nor_does_the_program(
    scheme: str, place: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("STEM_BROKER_URL", place.format(scheme=scheme, secret=SECRET))
    for words in (["queues", "list"], ["migrate", "up"], ["config"], ["plugins", "list"]):
        main(words)
    assert SECRET not in "".join(capfd.readouterr())

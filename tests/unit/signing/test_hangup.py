"""SIGHUP reads the keys again, unless it means what it has always meant."""

from __future__ import annotations

import logging
import os
import signal

import pytest
from unit.signing.rings import OTHER, Given, an_entry

from stem_core.producer.client import Stem
from stem_core.testing.clock import FakeClock
from stem_core.worker.hangup import hears_hang_ups, reload_keys
from stem_signing.signer import KeyringSigner


@pytest.mark.parametrize(
    ("on_terminal", "handler", "hears"),
    [
        (False, signal.SIG_DFL, True),
        (True, signal.SIG_DFL, False),
        (False, signal.SIG_IGN, False),
    ],
)
def test_on_a_terminal_or_ignored_it_says_nothing_about_keys(
    monkeypatch: pytest.MonkeyPatch, on_terminal: bool, handler: signal.Handlers, hears: bool
) -> None:
    monkeypatch.setattr(os, "isatty", lambda fd: on_terminal)
    before = signal.signal(signal.SIGHUP, handler)
    try:
        assert hears_hang_ups() is hears
    finally:
        signal.signal(signal.SIGHUP, before)


def test_keys_are_read_again_and_told_by_their_ids(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    source = Given([an_entry("one")])
    stem = Stem("memory://hangup", signer=KeyringSigner(source, clock=FakeClock()))
    source.becomes(an_entry("one"), an_entry("two", data=OTHER), active="two")
    reload_keys(stem)
    assert "these verify: two, one" in caplog.text
    source.fault = "half a file"
    reload_keys(stem)
    assert "the old ones stay: half a file" in caplog.text
    assert stem.pipeline.signer is not None
    assert stem.pipeline.signer.key_ids == ("two", "one")


def test_without_keys_there_is_nothing_to_read(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    reload_keys(Stem("memory://hangup", signer=None))
    assert "no keys to read again" in caplog.text

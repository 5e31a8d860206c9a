"""Imports of strangers, and threads that ask at the same time."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from io import StringIO

import pytest
from unit.discovery.fakes import FakeBroker, Site, open_broker

from stem_core.discovery.host import PluginHost
from stem_core.discovery.loading import LoadFailed, diverted, guarded, load_and_listen
from stem_core.model.errors import UsageError


def test_threads_that_ask_at_once_import_a_plugin_once(site: Site) -> None:
    site.module("counted", "made = []")
    site.broker("fake", extra="import counted\ncounted.made.append(1)")
    host = site.host()
    together = threading.Barrier(8)

    def ask(_: int) -> object:
        together.wait(10)
        return open_broker(host, "fake://h")

    with ThreadPoolExecutor(8) as pool:
        brokers = list(pool.map(ask, range(8)))
    import counted  # type: ignore[import-not-found]  # written by the first line

    assert all(isinstance(broker, FakeBroker) for broker in brokers)
    assert counted.made == [1]
    assert len([row for row in host.rows() if row.state == "ok"]) == 1


def test_threads_with_hosts_of_their_own_leave_standard_output_as_it_was(site: Site) -> None:
    for number in range(4):
        site.broker(f"fake{number}", distribution=f"stem-f{number}", module=f"f{number}")
    before = sys.stdout
    together = threading.Barrier(4)

    def ask(number: int) -> object:
        together.wait(10)
        return open_broker(site.host(), f"fake{number}://h")

    with ThreadPoolExecutor(4) as pool:
        assert len(list(pool.map(ask, range(4)))) == 4
    assert sys.stdout is before


def test_what_another_thread_prints_meanwhile_goes_where_it_meant_to(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with diverted() as heard:
        other = threading.Thread(target=print, args=("theirs",))
        other.start()
        other.join()
        assert not heard.anything
        print("ours")
        assert heard.anything
    assert capsys.readouterr() == ("theirs\n", "ours\n")


def test_an_import_may_ask_what_standard_output_is(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", StringIO())
    site.module("asks", "import sys\nsys.stdout.flush()\ntty = sys.stdout.isatty()")
    module, prints = load_and_listen("asks")
    assert module.tty is False
    assert not prints


def test_a_process_without_a_console_can_import_what_prints(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.module("chatty", "print('hello')")
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    assert load_and_listen("chatty")[1]


def test_guarded_code_ends_in_a_value_an_error_of_ours_or_one_kind_of_failure() -> None:
    def leave() -> None:
        raise SystemExit(3)

    def explain() -> None:
        raise UsageError("so")

    assert guarded(lambda: 7) == 7
    with pytest.raises(UsageError, match="so"):
        guarded(explain)
    with pytest.raises(LoadFailed) as caught:
        guarded(leave)
    assert isinstance(caught.value.cause, SystemExit)


def test_hosts_are_cheap_to_make_and_independent(site: Site) -> None:
    site.broker("fake")
    hosts = [PluginHost() for _ in range(3)]
    assert all(isinstance(open_broker(host, "fake://h"), FakeBroker) for host in hosts)

"""Plugins that fail: whom it harms, and what is said."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from unit.discovery.fakes import FakeBroker, Site, open_broker

from stem_core.contracts.hookspecs import PLUGIN_API, hookimpl
from stem_core.discovery.host import PluginHost
from stem_core.model.errors import PluginApiMismatch, PluginBroken, PluginError, UsageError

HEAD = "from stem_core.contracts.hookspecs import *\nSTEM_PLUGIN_API = (1, 0)\n"
OFFERS = """
@hookimpl
def stem_register_brokers():
    return [BrokerSpec(schemes=("fake",), factory="unit.discovery.fakes:FakeBroker")]
"""


def _install(site: Site, source: str) -> None:
    site.module("broken", source)
    site.distribution("stem-broken", "0.1", {"stem.brokers": {"fake": "broken"}})
    site.broker("good", module="good")


BROKEN = [
    (
        "import nonexistent_driver",
        r"ModuleNotFoundError: No module named 'nonexistent_driver' \[.*broken.py:1\]",
    ),
    ("raise RuntimeError('no luck')", r"RuntimeError: no luck \[.*broken.py:1\]"),
    ("raise RuntimeError('two\\nlines \\x1b[31m')", r"RuntimeError: two lines \[31m \["),
    ("\n\nraise SystemExit(3)", r"SystemExit: 3 \[.*broken.py:3\]"),
    ("def broken(:", r"SyntaxError: .* \[.*broken.py:1\]"),
    ("class Odd(BaseException): pass\nraise Odd", r"Odd \[.*broken.py:2\]"),
    ("def again(): again()\nagain()", "RecursionError"),
    (
        "class Mute(Exception):\n    def __str__(self): raise ValueError\nraise Mute",
        r"Mute \[.*broken.py:3\]",
    ),
    (
        HEAD + "@hookimpl\ndef stem_register_broker(): return []",
        r"unknown hook 'stem_register_broker' \(did you mean 'stem_register_brokers'\?\)",
    ),
    (
        HEAD + "@hookimpl\ndef stem_register_brokers(app): return []",
        "PluginValidationError: .*'app'",
    ),
    (HEAD + OFFERS.replace('("fake",)', '("fak",)'), "name fake, and its .* offers fak"),
    (
        HEAD + OFFERS.replace('("fake",)', '("fake", "faker")'),
        "name fake, and .* offers fake, faker",
    ),
    (HEAD, "name fake, and its stem_register_brokers offers nothing"),
    (HEAD + OFFERS.replace("@hookimpl", ""), "stem_register_brokers offers nothing"),
    (
        HEAD + OFFERS.replace("return ", "raise KeyError(1)\n    return "),
        r"stem_register_brokers failed: KeyError",
    ),
    (
        HEAD + OFFERS.replace("[BrokerSpec", "(BrokerSpec").replace("]", ")"),
        "BrokerSpec, not a list",
    ),
    (HEAD + OFFERS.replace("BrokerSpec", "BackendSpec"), "offers BackendSpec, not BrokerSpec"),
    (HEAD + OFFERS.replace('("fake",)', "()"), "a spec without schemes"),
    (HEAD + OFFERS.replace('("fake",)', '("Fake",)'), "'Fake', which is no scheme"),
    (HEAD + OFFERS.replace('("fake",)', '("fake", "fake")'), "offers fake twice"),
    (HEAD + OFFERS.replace("fakes:FakeBroker", "fakes.FakeBroker"), "must be module:Class"),
    (HEAD + OFFERS.replace('Broker")]', 'Broker", options="x.Y")]'), "must be module:Class"),
    (
        HEAD + OFFERS.replace('Broker")]', 'Broker", options="no_such:Y")]'),
        "No module named 'no_such'",
    ),
    (HEAD + OFFERS.replace('Broker")]', 'Broker", options="builtins:int")]'), "are no attrs class"),
]


@pytest.mark.parametrize(("source", "said"), BROKEN)
def test_a_broken_plugin_explains_itself_when_it_is_asked_for_and_harms_nobody_else(
    site: Site, source: str, said: str
) -> None:
    _install(site, source)
    host = site.host()
    assert isinstance(open_broker(host, "good://h"), FakeBroker)
    for _ in range(2):  # it does not get better, and is not half there
        with pytest.raises(PluginBroken, match=said) as caught:
            open_broker(host, "fake://h")
        assert "plugin stem-broken 0.1 (broken)" in caught.value.message
        assert caught.value.way_out.endswith(
            ("STEM_PLUGINS_DISABLE=stem-broken", "the same schemes, in lower case.")
        )
    assert isinstance(open_broker(host, "good://h"), FakeBroker)


def test_an_entry_point_in_capitals_never_matches_its_spec(site: Site) -> None:
    site.module("broken", HEAD + OFFERS)
    site.distribution("stem-broken", "0.1", {"stem.brokers": {"Fake": "broken"}})
    with pytest.raises(PluginBroken, match=r"name Fake, and its .* offers fake"):
        open_broker(site.host(), "fake://h")


def test_the_cause_is_kept_for_a_debugger(site: Site) -> None:
    _install(site, "import nonexistent_driver")
    with pytest.raises(PluginBroken) as caught:
        open_broker(site.host(), "fake://h")
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


def test_an_interrupt_is_nobodys_fault(site: Site) -> None:
    _install(site, "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        open_broker(site.host(), "fake://h")


def test_an_error_of_ours_in_a_plugin_explains_itself(site: Site) -> None:
    _install(
        site,
        "from stem_core.model.errors import UsageError\nraise UsageError('install stem-x[binary]')",
    )
    with pytest.raises(UsageError, match=r"^install stem-x"):
        open_broker(site.host(), "fake://h")


def test_a_refused_plugin_leaves_no_hook_behind(site: Site) -> None:
    wrapper = "\n@hookimpl(wrapper=True)\ndef stem_open_broker():\n    yield\n    return None\n"
    _install(site, HEAD + OFFERS.replace('("fake",)', '("fak",)') + wrapper)
    host = site.host()
    with pytest.raises(PluginBroken, match="offers fak"):
        open_broker(host, "fake://h")
    assert isinstance(open_broker(host, "good://h"), FakeBroker)


# ── the version of the plugin API ────────────────────────────────────────────


@pytest.mark.parametrize("declared", ["(1, 0)"])
def test_a_plugin_of_this_api_is_used(site: Site, declared: str) -> None:
    _install(site, HEAD.replace("(1, 0)", declared) + OFFERS)
    assert isinstance(open_broker(site.host(), "fake://h"), FakeBroker)


@pytest.mark.parametrize(
    ("declared", "said", "way_out"),
    [
        ("(2, 0)", "stem-broken 0.1 declares plugin API 2.0; this", "Upgrade stem-core."),
        ("(1, 99)", "stem-broken 0.1 declares plugin API 1.99; this", "Upgrade stem-core."),
        ("(0, 9)", "stem-broken 0.1 declares plugin API 0.9; this", "Upgrade stem-broken."),
        ("(1,)", "declares no valid API version", "STEM_PLUGIN_API = (1, 0)"),
        ("[1, 0]", "declares no valid API version", "STEM_PLUGIN_API = (1, 0)"),
        ("'1.0'", "declares no valid API version", "STEM_PLUGIN_API = (1, 0)"),
        ("(True, 0)", "declares no valid API version", "STEM_PLUGIN_API = (1, 0)"),
        ("None", "declares no STEM_PLUGIN_API", "STEM_PLUGIN_API = (1, 0)"),
    ],
)
def test_a_plugin_of_another_api_is_refused_before_its_hooks_are_looked_at(
    site: Site, declared: str, said: str, way_out: str
) -> None:
    misspelled = "\n@hookimpl\ndef stem_from_the_future(): return []\n"
    _install(site, HEAD.replace("(1, 0)", declared) + misspelled)
    with pytest.raises(PluginApiMismatch) as caught:
        open_broker(site.host(), "fake://h")
    assert said in caught.value.message
    assert f"this stem-core provides {PLUGIN_API[0]}.{PLUGIN_API[1]}" in caught.value.message
    assert caught.value.way_out.endswith(way_out)


def test_a_registered_object_is_checked_like_a_module(site: Site) -> None:
    class Versionless:
        @hookimpl
        def stem_register_brokers(self) -> list[Any]:
            return []

    class Misspelled:
        STEM_PLUGIN_API = (1, 0)

        @hookimpl
        def stem_observer(self) -> list[Any]:
            return []

    host = site.host()
    with pytest.raises(PluginApiMismatch, match=r"mine .by register.*declares no STEM_PLUGIN_API"):
        host.register(Versionless(), name="mine")
    with pytest.raises(PluginBroken, match="did you mean 'stem_observers'"):
        host.register(Misspelled(), name="mine")
    assert list(host.rows()) == []


# ── what a plugin prints ─────────────────────────────────────────────────────


def test_what_a_plugin_prints_never_reaches_standard_output(
    site: Site, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    _install(site, "print('welcome!')\n" + HEAD + OFFERS.replace("return", "print('spec'); return"))
    assert isinstance(open_broker(site.host(), "fake://h"), FakeBroker)
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "welcome!\nspec\n"
    assert "plugin stem-broken 0.1 (broken): it prints while it is imported" in caplog.text


def test_strict_refuses_a_plugin_that_prints(site: Site) -> None:
    _install(site, "print('welcome!')\n" + HEAD + OFFERS)
    with pytest.raises(PluginError, match="prints while it is imported"):
        open_broker(site.host(strict=True), "fake://h")


# ── always-on plugins ────────────────────────────────────────────────────────


def test_an_always_on_plugin_that_fails_is_a_warning_said_once(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.module("always", "import nonexistent_driver")
    site.distribution("stem-always", groups={"stem.plugins": {"always": "always"}})
    site.broker("fake")
    host = site.host()
    open_broker(host, "fake://h")
    open_broker(host, "fake://h")
    [record] = caplog.records
    assert (record.name, record.levelname) == ("stem.plugins", "WARNING")
    assert "plugin stem-always 1.0 (always) failed to load: ModuleNotFoundError" in record.message


def test_an_always_on_plugin_that_fails_is_not_tried_for_every_url(site: Site) -> None:
    site.module("counted", "tried = []")
    site.module("always", "import counted\ncounted.tried.append(1)\nraise RuntimeError")
    site.distribution("stem-always", groups={"stem.plugins": {"always": "always"}})
    site.broker("fake")
    host = site.host()
    open_broker(host, "fake://h")
    open_broker(host, "fake://h")
    import counted  # type: ignore[import-not-found]  # written by the first line

    assert counted.tried == [1]


def test_strict_makes_an_error_of_an_always_on_plugin_that_fails(site: Site) -> None:
    site.module("always", "import nonexistent_driver")
    site.distribution("stem-always", groups={"stem.plugins": {"always": "always"}})
    site.broker("fake")
    with pytest.raises(PluginBroken, match="stem-always"):
        open_broker(site.host(strict=True), "fake://h")


# ── metadata that cannot be read ─────────────────────────────────────────────


def test_one_unreadable_distribution_does_not_hide_the_others(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.distribution("garbled")
    (site.path / "garbled-1.0.dist-info" / "entry_points.txt").write_bytes(b"\xff\xfe[x]\n")
    site.broker("fake")
    host = PluginHost()
    assert isinstance(open_broker(host, "fake://h"), FakeBroker)
    assert host.offers("broker", "memory")
    assert "the entry points of garbled cannot be read: UnicodeDecodeError" in caplog.text


def test_beside_an_unreadable_distribution_the_first_on_the_path_still_wins(
    site: Site, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.distribution("garbled")
    (site.path / "garbled-1.0.dist-info" / "entry_points.txt").write_bytes(b"\xff\xfe[x]\n")
    site.broker("fake", version="2.0")
    shadowed = Site(tmp_path_factory.mktemp("later"))
    shadowed.distribution("stem-fake", "1.0", {"stem.brokers": {"fake": "old", "gone": "old"}})
    monkeypatch.setattr(sys, "path", [*sys.path, str(shadowed.path)])
    host = PluginHost()
    assert isinstance(open_broker(host, "fake://h"), FakeBroker)
    assert not host.offers("broker", "gone")


def test_a_module_that_is_not_there_is_no_fault_of_a_line_of_code(site: Site) -> None:
    site.distribution("stem-gone", "0.1", {"stem.brokers": {"fake": "gone_plugin"}})
    with pytest.raises(PluginBroken) as caught:
        open_broker(site.host(), "fake://h")
    assert caught.value.message == (
        "plugin stem-gone 0.1 (gone_plugin) failed to load: "
        "ModuleNotFoundError: No module named 'gone_plugin'"
    )


def test_a_distribution_without_metadata_can_still_be_used(site: Site) -> None:
    site.broker("fake")
    (site.path / "stem_fake-1.0.dist-info" / "METADATA").unlink()
    host = site.host()
    assert isinstance(open_broker(host, "fake://h"), FakeBroker)
    [row] = host.rows()
    assert (row.distribution, row.version) == ("", "")


def test_a_value_that_is_no_module_is_a_broken_plugin(site: Site) -> None:
    site.distribution("stem-odd", groups={"stem.brokers": {"fake": ":nothing", "fold": "a:"}})
    for scheme in ("fake", "fold"):
        with pytest.raises(PluginBroken, match="is not of the form module or module:attribute"):
            open_broker(site.host(), f"{scheme}://h")


def test_making_a_host_reads_no_metadata() -> None:
    program = (
        "import sys; from stem_core.discovery.host import PluginHost; PluginHost();"
        "print([m for m in ('importlib.metadata', 'cattrs', 'difflib') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert "importlib.metadata" not in done.stdout, done.stdout

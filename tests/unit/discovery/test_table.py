"""`stem plugins`, as values."""

from __future__ import annotations

import json
import sys

import pytest
from unit.discovery.fakes import Site, open_broker
from unit.discovery.test_choosing import Offers

from stem_core.discovery.host import PluginHost
from stem_core.discovery.table import COLUMNS, PluginRow
from stem_core.model.errors import PluginBroken, PluginDisabled, UnknownScheme
from stem_core.model.structure import OptionInfo


def _by_scheme(rows: object) -> dict[str, PluginRow]:
    assert isinstance(rows, list)
    return {row.scheme: row for row in rows}


@pytest.fixture
def zoo(site: Site) -> Site:
    """One plugin of each fate."""
    site.broker("good", distribution="stem-good", module="good")
    site.broker("off", distribution="stem-off", module="off")
    site.broker("two", distribution="stem-two-a", module="two_a")
    site.broker("two", distribution="stem-two-b", module="two_b")
    site.module("bad", "import nonexistent_driver")
    site.distribution("stem-bad", "0.1", {"stem.brokers": {"bad": "bad"}})
    site.module("tool", "def main(): return 7")
    site.distribution("stem-tool", groups={"stem.commands": {"certify": "tool:main"}})
    site.module("always", "STEM_PLUGIN_API = (1, 0)")
    site.distribution("stem-always", groups={"stem.plugins": {"always": "always"}})
    return site


def test_rows_say_what_is_installed_and_import_nothing(zoo: Site) -> None:
    before = set(sys.modules)
    rows = zoo.host(disable=("stem-off",)).rows()
    assert [(row.kind, row.scheme, row.distribution, row.state) for row in rows] == [
        ("broker", "bad", "stem-bad", "not loaded"),
        ("broker", "good", "stem-good", "not loaded"),
        ("broker", "off", "stem-off", "disabled"),
        ("broker", "two", "stem-two-a", "conflict"),
        ("broker", "two", "stem-two-b", "conflict"),
        ("hooks", "always", "stem-always", "not loaded"),
        ("command", "certify", "stem-tool", "not loaded"),
    ]
    assert set(zoo.modules).isdisjoint(set(sys.modules) - before)


def test_a_check_tries_each_one_and_tells(zoo: Site) -> None:
    host = zoo.host(disable=("stem-off",))
    rows = host.check()
    assert [(row.scheme, row.state, row.api, row.is_healthy) for row in rows] == [
        ("bad", "error", "", False),
        ("good", "ok", "1.0", True),
        ("off", "disabled", "", True),
        ("two", "conflict", "", False),
        ("two", "conflict", "", False),
        ("always", "ok", "1.0", True),
        ("certify", "ok", "", True),
    ]
    assert "No module named 'nonexistent_driver'" in rows[0].detail
    assert "off" not in sys.modules
    assert "stem-two-a 1.0 and stem-two-b 1.0" in rows[3].detail


def test_a_check_makes_nothing_active(zoo: Site) -> None:
    host = zoo.host()
    host.check()
    assert {row.state for row in host.rows()} == {"not loaded", "conflict"}


def test_a_row_shows_what_is_loaded_by_now(zoo: Site) -> None:
    host = zoo.host()
    open_broker(host, "good://h")
    good = _by_scheme(host.rows())["good"]
    assert (good.state, good.api, good.module, good.version) == ("ok", "1.0", "good", "1.0")
    assert _by_scheme(host.rows())["always"].state == "ok"


def test_the_one_that_was_not_chosen_is_unused_and_says_by_whom(zoo: Site) -> None:
    rows = zoo.host(prefer={"two": "stem-two-b"}).rows()
    states = {row.distribution: (row.state, row.detail) for row in rows if row.scheme == "two"}
    assert states == {
        "stem-two-a": ("unused", "STEM_PLUGINS_PREFER chose stem-two-b 1.0"),
        "stem-two-b": ("not loaded", ""),
    }


def test_what_is_registered_has_a_row_and_pushes_the_entry_point_out(zoo: Site) -> None:
    host = zoo.host()
    host.register(Offers("good"), name="mine")
    first, *rest = host.rows()
    assert first == PluginRow(
        kind="broker",
        scheme="good",
        distribution="",
        version="",
        module="mine",
        api="1.0",
        state="ok",
        detail="by register()",
    )
    good = next(row for row in rest if row.scheme == "good")
    assert (good.state, good.detail) == ("unused", "mine (by register()) is used")
    assert host.check()[0] == first


def test_a_named_module_has_a_row_before_and_after_it_is_imported(zoo: Site) -> None:
    host = zoo.host(modules=("good", "no_such_module"))
    rows = host.rows()
    assert [(row.kind, row.module, row.state) for row in rows[:2]] == [
        ("module", "good", "not loaded"),
        ("module", "no_such_module", "not loaded"),
    ]
    assert [row.state for row in host.check()[:2]] == ["ok", "error"]
    fine = zoo.host(modules=("good",))
    assert fine.offers("broker", "good")
    assert fine.rows()[0].detail == "by STEM_PLUGINS"
    assert fine.rows()[0].kind == "broker"


def test_a_check_finds_the_driver_that_is_missing(site: Site) -> None:
    site.module(
        "thin",
        """
        from stem_core.contracts.hookspecs import *
        STEM_PLUGIN_API = (1, 0)
        @hookimpl
        def stem_register_brokers():
            return [
                BrokerSpec(schemes=("one",), factory="no_such_driver:Broker"),
                BrokerSpec(schemes=("two",), factory="builtins:int"),
                BrokerSpec(
                    schemes=("zoo",),
                    factory="unit.discovery.fakes:FakeBroker",
                    options="no_such_options:Options",
                ),
            ]
        """,
    )
    site.distribution(
        "stem-thin", groups={"stem.brokers": {"one": "thin", "two": "thin", "zoo": "thin"}}
    )
    one, two, zoo = site.host().check()
    assert "No module named 'no_such_driver'" in one.detail
    assert two.detail.endswith("builtins:int has no open()")
    assert "No module named 'no_such_options'" in zoo.detail


def test_a_check_tells_of_a_plugin_that_prints(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    site.broker("fake", extra="print('welcome!')")
    [row] = site.host().check()
    assert (row.state, row.detail) == ("ok", "prints while it is imported")
    assert capsys.readouterr().out == ""


def test_the_built_in_plugins_pass_their_check() -> None:
    core = [row for row in PluginHost().check() if row.distribution == "stem-core"]
    assert {(row.kind, row.scheme) for row in core} >= {
        ("broker", "memory"),
        ("backend", "memory"),
        ("backend", "none"),
        ("signer", "none"),
    }
    assert {row.state for row in core} == {"ok"}, core


def test_a_row_is_plain_values_in_the_order_of_the_columns(zoo: Site) -> None:
    row = zoo.host().rows()[1]
    assert tuple(row.to_json()) == COLUMNS
    assert json.loads(json.dumps(row.to_json())) == {
        "kind": "broker",
        "scheme": "good",
        "distribution": "stem-good",
        "version": "1.0",
        "module": "good",
        "api": "",
        "state": "not loaded",
        "detail": "",
    }


# ── one scheme in full ───────────────────────────────────────────────────────


def test_a_scheme_shows_its_options_variants_examples_and_capabilities(site: Site) -> None:
    site.module(
        "fake_options",
        """
        from attrs import field, frozen
        from stem_core.model.duration import Milliseconds
        @frozen(kw_only=True)
        class Options:
            patience: Milliseconds = field(default=Milliseconds(9000), metadata={"help": "Time."})
        """,
    )
    site.broker(
        "fake",
        spec="options='fake_options:Options', variants=('unix',), summary='A fake', "
        "examples=('fake://h',)",
    )
    [info] = site.host().show("FAKE+unix")
    assert (info.kind, info.schemes, info.variants) == ("broker", ("fake",), ("unix",))
    assert (info.distribution, info.version, info.api) == ("stem-fake", "1.0", "1.0")
    assert (info.summary, info.examples) == ("A fake", ("fake://h",))
    assert info.options == (
        OptionInfo(name="patience", type="duration", default="9s", help="Time."),
    )
    assert info.capabilities["durability"] == "memory"
    assert info.capabilities["delay"] == "absent"
    assert info.capabilities["max_batch"] == "500"
    assert info.problem == ""
    assert json.loads(json.dumps(info.to_json()))["options"][0]["name"] == "patience"


def test_a_scheme_of_several_kinds_shows_each() -> None:
    assert [info.kind for info in PluginHost().show("none")] == ["backend", "signer"]
    assert [info.kind for info in PluginHost().show("memory")] == ["broker", "backend"]


def test_a_scheme_whose_driver_is_missing_shows_what_it_can(site: Site) -> None:
    site.module(
        "thin",
        """
        from stem_core.contracts.hookspecs import *
        STEM_PLUGIN_API = (1, 0)
        @hookimpl
        def stem_register_brokers():
            return [BrokerSpec(schemes=("thin",), factory="no_such_driver:X", summary="Thin")]
        """,
    )
    site.distribution("stem-thin", groups={"stem.brokers": {"thin": "thin"}})
    [info] = site.host().show("thin")
    assert info.summary == "Thin"
    assert "No module named 'no_such_driver'" in info.problem
    assert info.capabilities == {}


def test_showing_what_is_not_there_says_how_to_get_it(zoo: Site) -> None:
    with pytest.raises(UnknownScheme, match=r"no signer plugin .* pip install stem-signing"):
        zoo.host().show("ed25519")
    with pytest.raises(UnknownScheme, match="did you mean 'good'"):
        zoo.host().show("goood")
    with pytest.raises(PluginDisabled, match="stem-off"):
        zoo.host(disable=("stem-off",)).show("off")
    with pytest.raises(PluginBroken, match="nonexistent_driver"):
        zoo.host().show("bad")

"""Which of several plugins is used, and who says so."""

from __future__ import annotations

import sys

import pytest
from unit.discovery.fakes import FakeBroker, Site, open_broker

from stem_core.contracts.hookspecs import BrokerSpec, hookimpl
from stem_core.discovery.host import PluginHost
from stem_core.discovery.settings import PluginSettings, canonical
from stem_core.model.errors import (
    PluginBroken,
    PluginConflict,
    PluginDisabled,
    PluginError,
    UnknownScheme,
)
from stem_core.model.settings import StemConfig


class Registered(FakeBroker):
    """Opened by what a test registered."""


class Offers:
    """A plugin that is an object."""

    STEM_PLUGIN_API = (1, 0)

    def __init__(self, *schemes: str) -> None:
        self.schemes = schemes

    @hookimpl
    def stem_register_brokers(self) -> list[BrokerSpec]:
        factory = f"{__name__}:Registered"
        return [BrokerSpec(schemes=self.schemes, factory=factory)]


@pytest.fixture
def twice(site: Site) -> Site:
    """Two distributions that both claim fake://."""
    site.broker("fake", module="fake_plugin")
    site.broker("fake", distribution="Stem.Turbo", version="0.1", module="turbo")
    return site


def _module_of(host: PluginHost, scheme: str = "fake") -> str:
    open_broker(host, f"{scheme}://h")
    return next(row.module for row in host.rows() if row.scheme == scheme and row.state == "ok")


# ── two that claim one scheme ────────────────────────────────────────────────


def test_two_distributions_with_one_scheme_are_an_error_that_names_both(twice: Site) -> None:
    with pytest.raises(PluginConflict) as caught:
        open_broker(twice.host(), "fake://h")
    assert str(caught.value) == (
        "broker scheme 'fake' is provided by Stem.Turbo 0.1 and stem-fake 1.0\n"
        "  Uninstall one, or choose with STEM_PLUGINS_PREFER=fake=Stem.Turbo"
    )
    assert {"fake_plugin", "turbo"}.isdisjoint(sys.modules)


@pytest.mark.parametrize("wanted", ["stem-turbo", "Stem_Turbo", "Stem.Turbo"])
def test_a_preference_decides_however_its_name_is_spelled(twice: Site, wanted: str) -> None:
    assert _module_of(twice.host(prefer={"FAKE": wanted})) == "turbo"
    assert "fake_plugin" not in sys.modules


def test_a_preference_for_somebody_else_decides_nothing(twice: Site) -> None:
    with pytest.raises(PluginConflict, match="STEM_PLUGINS_PREFER=fake=stem-redis does not decide"):
        open_broker(twice.host(prefer={"fake": "stem-redis"}), "fake://h")


def test_disabling_one_of_two_ends_the_conflict(twice: Site) -> None:
    assert _module_of(twice.host(disable=("stem-turbo",))) == "fake_plugin"


def test_a_built_in_scheme_is_not_taken_over_in_silence(site: Site) -> None:
    site.broker("memory", distribution="stem-turbo", module="turbo")
    with pytest.raises(PluginConflict, match=r"stem-core \S+ and stem-turbo 1.0"):
        open_broker(PluginHost(), "memory://x")
    host = PluginHost(PluginSettings(prefer={"memory": "stem-turbo"}))
    assert isinstance(open_broker(host, "memory://x"), FakeBroker)


def test_one_distribution_that_claims_a_scheme_twice_is_an_error(site: Site) -> None:
    site.distribution("stem-odd")
    folder = site.path / "stem_odd-1.0.dist-info"
    (folder / "entry_points.txt").write_text("[stem.brokers]\nfake = one\nfake = two\n")
    with pytest.raises(PluginConflict, match=r"stem-odd 1.0 twice, by one and two"):
        open_broker(site.host(), "fake://h")


def test_a_preference_for_an_alias_is_one_for_its_scheme(site: Site) -> None:
    site.broker("postgresql")
    site.broker("postgresql", distribution="stem-turbo", module="turbo")
    assert _module_of(site.host(prefer={"pg": "stem-turbo"}), "postgresql") == "turbo"


def test_nobody_can_take_over_an_alias(site: Site) -> None:
    site.broker("pg", module="thief")
    host = site.host()
    with pytest.raises(UnknownScheme, match="pip install stem-postgres"):
        open_broker(host, "pg://h")
    [row] = host.rows()
    assert (row.state, row.detail) == ("unused", "'pg' is another spelling of 'postgresql'")


# ── switched off ─────────────────────────────────────────────────────────────


@pytest.mark.parametrize("disable", ["stem-fake", "Stem_Fake", "*"])
def test_a_disabled_plugin_is_not_offered_and_says_why(site: Site, disable: str) -> None:
    site.broker("fake")
    host = site.host(disable=(disable,))
    assert not host.offers("broker", "fake")
    with pytest.raises(PluginDisabled, match="switched off by STEM_PLUGINS_DISABLE") as caught:
        open_broker(host, "fake://h")
    assert "stem-fake 1.0 (fake_plugin)" in caught.value.message
    assert "take stem-fake" in caught.value.way_out
    assert "fake_plugin" not in sys.modules


def test_a_star_leaves_our_own_distributions_on(site: Site) -> None:
    site.broker("redis", distribution="stem-redis", module="ours")
    assert site.host(disable=("*",)).offers("broker", "redis")
    assert PluginHost(PluginSettings(disable=("*",))).offers("broker", "memory")


def test_without_autoload_only_the_core_itself_is_used(site: Site) -> None:
    site.broker("fake")
    host = PluginHost(PluginSettings(autoload=False))
    assert host.offers("broker", "memory")
    assert not host.offers("broker", "fake")
    with pytest.raises(PluginDisabled, match="STEM_PLUGINS_AUTOLOAD=0") as caught:
        open_broker(host, "fake://h")
    assert caught.value.way_out == "name it: STEM_PLUGINS=fake_plugin"


def test_a_module_that_is_named_works_without_autoload(site: Site) -> None:
    site.broker("fake")
    host = site.host(autoload=False, modules=("fake_plugin",))
    assert host.offers("broker", "fake")
    assert isinstance(open_broker(host, "fake://h"), FakeBroker)


def test_what_is_switched_off_and_not_there_is_a_warning(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.broker("fake")
    host = site.host(disable=("stem-fke",), prefer={"fake": "stem-turbo"})
    open_broker(host, "fake://h")
    open_broker(host, "fake://h")
    assert [record.message for record in caplog.records] == [
        "STEM_PLUGINS_DISABLE names 'stem-fke', and no installed plugin comes from it; "
        "did you mean 'stem-fake'?",
        "STEM_PLUGINS_PREFER=fake=stem-turbo has no effect: stem-turbo is not installed, "
        "or does not offer 'fake'",
    ]


def test_strict_makes_an_error_of_it_each_time(site: Site) -> None:
    site.broker("fake")
    host = site.host(disable=("stem-fke",), strict=True)
    for _ in range(2):
        with pytest.raises(PluginError, match="stem-fke"):
            open_broker(host, "fake://h")


# ── by hand ──────────────────────────────────────────────────────────────────


def test_what_is_registered_wins_over_all_that_is_installed(twice: Site) -> None:
    host = twice.host(disable=("stem-fake",))
    host.register(Offers("fake"))
    assert host.offers("broker", "fake")
    assert isinstance(open_broker(host, "fake://h"), Registered)
    assert {"fake_plugin", "turbo"}.isdisjoint(sys.modules)


def test_what_is_registered_wins_over_a_named_module_in_either_order(site: Site) -> None:
    site.broker("fake")
    early, late = (site.host(modules=("fake_plugin",)) for _ in range(2))
    early.register(Offers("fake"))
    open_broker(late, "fake://h")
    late.register(Offers("fake"))
    assert isinstance(open_broker(early, "fake://h"), Registered)
    assert isinstance(open_broker(late, "fake://h"), Registered)


def test_a_named_module_wins_over_an_entry_point(twice: Site) -> None:
    host = twice.host(modules=("turbo",))
    assert isinstance(open_broker(host, "fake://h"), FakeBroker)
    assert "fake_plugin" not in sys.modules


def test_two_registered_plugins_with_one_scheme_are_an_error(site: Site) -> None:
    host = site.host()
    host.register(Offers("fake", "one"), name="first")
    with pytest.raises(PluginConflict, match=r"'fake' is provided by first .* and second "):
        host.register(Offers("two", "fake"), name="second")
    assert not host.offers("broker", "two")
    host.register(Offers("two"), name="second")
    assert host.offers("broker", "two")


def test_one_object_is_registered_once_and_two_of_a_kind_twice(site: Site) -> None:
    host, one = site.host(), Offers("one")
    host.register(one)
    host.register(one)
    host.register(Offers("two"))
    names = [row.module for row in host.rows()]
    assert names == [f"{__name__}.Offers", f"{__name__}.Offers #2"]


def test_one_name_is_not_registered_twice(site: Site) -> None:
    host = site.host()
    host.register(Offers("one"), name="mine")
    with pytest.raises(PluginConflict, match="registered as 'mine' already"):
        host.register(Offers("two"), name="mine")


def test_a_module_can_be_registered_and_installed_at_once(site: Site) -> None:
    site.broker("fake")
    site.distribution("stem-again", groups={"stem.plugins": {"again": "fake_plugin"}})
    import fake_plugin  # type: ignore[import-not-found]  # written by the line above

    host = site.host(modules=("fake_plugin",))
    host.register(fake_plugin)
    assert isinstance(open_broker(host, "fake://h"), FakeBroker)


@pytest.mark.parametrize("target", ["holder:plugin", "holder:nested.plugin"])
def test_an_entry_point_may_name_an_object_in_a_module(site: Site, target: str) -> None:
    site.module(
        "holder",
        """
        from unit.discovery.test_choosing import Offers
        plugin = Offers("fake")
        class nested:
            plugin = Offers("fake")
        """,
    )
    site.distribution("stem-fake", groups={"stem.brokers": {"fake": f"{target} [extra]"}})
    assert type(open_broker(site.host(), "fake://h")).__name__ == "Registered"


def test_a_named_module_that_fails_is_an_error_every_time(site: Site) -> None:
    site.broker("fake")
    host = site.host(modules=("no_such_module",))
    for _ in range(2):
        with pytest.raises(
            PluginBroken, match=r"no_such_module .by STEM_PLUGINS. failed"
        ) as caught:
            open_broker(host, "fake://h")
        assert caught.value.way_out == "fix it, or take it out of STEM_PLUGINS"


def test_one_host_does_not_know_what_another_has(site: Site) -> None:
    one, other = site.host(), site.host()
    one.register(Offers("fake"))
    assert one.offers("broker", "fake")
    assert not other.offers("broker", "fake")


# ── from the configuration ───────────────────────────────────────────────────


def test_settings_are_the_variables_of_the_configuration() -> None:
    config = StemConfig.from_environment(
        {
            "STEM_BROKER_URL": "memory://",
            "STEM_PLUGINS": "my_app.plugin,other",
            "STEM_PLUGINS_AUTOLOAD": "0",
            "STEM_PLUGINS_DISABLE": "stem-foo,*",
            "STEM_PLUGINS_PREFER": "redis=stem-turbo",
            "STEM_PLUGINS_STRICT": "1",
        }
    )
    settings = PluginSettings.of(config)
    assert settings.modules == ("my_app.plugin", "other")
    assert settings.autoload is False
    assert settings.disable == ("stem-foo", "*")
    assert dict(settings.prefer) == {"redis": "stem-turbo"}
    assert settings.strict is True


@pytest.mark.parametrize("written", ["Stem_Redis", "stem.redis", "STEM--redis", "stem-redis"])
def test_a_distribution_has_one_spelling(written: str) -> None:
    assert canonical(written) == "stem-redis"

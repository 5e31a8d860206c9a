"""From a URL to what it names."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from unit.discovery.fakes import (
    CONTEXT,
    FakeBroker,
    FakeSigner,
    Site,
    open_backend,
    open_broker,
    open_signer,
)

from stem_core.contracts.hookspecs import hookimpl
from stem_core.discovery.host import PluginHost
from stem_core.model.errors import (
    ConfigError,
    InvalidURL,
    PluginBroken,
    StoreMisconfigured,
    StoreUnavailable,
    UnknownScheme,
)
from stem_core.model.urls import StemURL

OPTIONS = """
    from attrs import field, frozen
    from stem_core.model.duration import Milliseconds

    @frozen(kw_only=True)
    class Options:
        size: int = field(default=10, metadata={"help": "How many."})
        patience: Milliseconds = Milliseconds(1000)
"""


def test_a_url_opens_the_broker_of_its_scheme(site: Site) -> None:
    site.broker("fake")
    broker = open_broker(site.host(), "fake://somewhere:1/place")
    assert isinstance(broker, FakeBroker)
    assert broker.url.redacted() == "fake://somewhere:1/place"
    assert broker.context is CONTEXT
    assert broker.options is None


def test_the_built_in_schemes_are_plugins_like_any_other(site: Site) -> None:
    host = PluginHost()
    assert open_backend(host, "none://") is None
    assert open_signer(host, "none://") is None
    assert host.offers("broker", "memory")
    assert host.offers("backend", "memory")
    assert not host.offers("broker", "none")


def test_only_the_plugin_that_a_url_names_is_imported(site: Site) -> None:
    site.broker("fake")
    site.broker("other", distribution="stem-other", module="other_plugin")
    open_broker(site.host(), "fake://")
    assert "fake_plugin" in sys.modules
    assert "other_plugin" not in sys.modules


def test_asking_whether_a_scheme_is_offered_imports_nothing(site: Site) -> None:
    site.broker("fake")
    host = site.host()
    assert host.offers("broker", "FAKE")
    assert host.offers("broker", "fake+variant")
    assert not host.offers("backend", "fake")
    assert not host.offers("broker", "fak")
    assert "fake_plugin" not in sys.modules


def test_parameters_of_a_url_become_typed_options(site: Site) -> None:
    site.module("fake_options", OPTIONS)
    site.broker("fake", spec='options="fake_options:Options"')
    broker = open_broker(site.host(), "fake://?size=3&patience=5s")
    assert (broker.options.size, broker.options.patience) == (3, 5000)
    assert open_broker(site.host(), "fake://").options.size == 10


def test_every_bad_parameter_is_named_at_once_with_a_guess(site: Site) -> None:
    site.module("fake_options", OPTIONS)
    site.broker("fake", spec='options="fake_options:Options"')
    with pytest.raises(ConfigError) as caught:
        open_broker(site.host(), "fake://u:hunter2@h/?sise=3&size=x")
    message = str(caught.value)
    assert message.startswith("broker URL (fake://u:***@h/?sise=***&size=x)")
    assert "unknown parameter 'sise' (did you mean 'size'?)" in message
    assert "size='x': expected an integer" in message
    assert "size, patience" in message
    assert "hunter2" not in message


def test_a_plugin_without_options_refuses_every_parameter(site: Site) -> None:
    site.broker("fake")
    with pytest.raises(InvalidURL, match="unknown parameter 'size', 'other'") as caught:
        open_broker(site.host(), "fake://?size=3&other=1&size=4")
    assert caught.value.way_out == "fake:// takes no parameters."


def test_a_known_variant_is_opened_and_an_unknown_one_refused(site: Site) -> None:
    site.broker("fake", spec='variants=("unix", "sentinel")')
    assert open_broker(site.host(), "fake+unix:///run/x").url.variant == "unix"
    with pytest.raises(InvalidURL, match=r"no variant 'sentinal'; did you mean 'fake\+sentinel'"):
        open_broker(site.host(), "fake+sentinal://h")
    with pytest.raises(InvalidURL, match="no variant 'zzz'") as caught:
        open_broker(site.host(), "fake+zzz://h")
    assert caught.value.way_out == "It opens: fake, fake+unix, fake+sentinel"


def test_a_distribution_may_own_one_variant_of_a_scheme(site: Site) -> None:
    site.broker("fake", spec='variants=("unix",)')
    site.broker("fake.cloud", distribution="stem-cloud", module="cloud", spec='summary="cloud"')
    host = site.host()
    assert open_broker(host, "fake+cloud://h").url.variant == "cloud"
    assert "fake_plugin" not in sys.modules
    assert open_broker(host, "fake+unix:///x").url.variant == "unix"


@pytest.mark.parametrize("alias", ["pg", "postgres", "PG"])
def test_other_spellings_of_postgresql_reach_it_under_its_own_name(site: Site, alias: str) -> None:
    site.broker("postgresql")
    host = site.host()
    assert host.offers("broker", alias)
    assert open_broker(host, f"{alias}://h/db").url.scheme == "postgresql"


def test_a_url_can_be_checked_without_opening_it(site: Site) -> None:
    site.module("fake_options", OPTIONS)
    site.broker("fake", spec='options="fake_options:Options"')
    site.broker("thin", distribution="stem-thin", module="thin", spec="variants=('unix',)")
    host = site.host()
    host.check_url("broker", StemURL.parse("fake://h?size=3"))
    for url in ("fake://h?size=x", "fake+unix://h", "thin+unix://h?size=3"):
        with pytest.raises(ConfigError):
            host.check_url("broker", StemURL.parse(url))
    with pytest.raises(UnknownScheme):
        host.check_url("backend", StemURL.parse("fake://h"))


# ── what is opened must be what was promised ─────────────────────────────────


def test_a_store_that_opens_to_nothing_is_refused_for_it_is_not_none(site: Site) -> None:
    site.module(
        "nothing", "class Empty:\n    @classmethod\n    async def open(cls, *a): return None"
    )
    site.module(
        "fake_plugin",
        """
        from stem_core.contracts.hookspecs import *
        STEM_PLUGIN_API = (1, 0)
        @hookimpl
        def stem_register_brokers():
            return [BrokerSpec(schemes=("fake",), factory="nothing:Empty")]
        @hookimpl
        def stem_register_backends():
            return [BackendSpec(schemes=("fake",), factory="nothing:Empty")]
        """,
    )
    points = {"fake": "fake_plugin"}
    site.distribution("stem-fake", groups={"stem.brokers": points, "stem.backends": points})
    with pytest.raises(PluginBroken, match="gave NoneType, not a Broker"):
        open_broker(site.host(), "fake://")
    with pytest.raises(PluginBroken, match="gave NoneType, not a ResultBackend"):
        open_backend(site.host(), "fake://")


@pytest.mark.parametrize(
    ("body", "gave"),
    [
        ("@classmethod\n    def open(cls, *a): return None", "NoneType"),
        ("@classmethod\n    async def open(cls, *a): return None", "coroutine"),
        ("@classmethod\n    def open(cls, *a): return 7", "int"),
    ],
)
def test_a_signer_that_opens_to_no_signer_is_never_silently_unsigned(
    site: Site, body: str, gave: str
) -> None:
    _signer(site, f"class Factory:\n    {body}")
    with pytest.raises(PluginBroken, match=f"gave {gave}, not a Signer"):
        open_signer(site.host(), "vow://")


def test_a_signer_is_opened_without_awaiting(site: Site) -> None:
    _signer(site, "from unit.discovery.fakes import FakeSigner as Factory")
    assert isinstance(open_signer(site.host(), "vow://"), FakeSigner)


@pytest.mark.parametrize("url", ["none://h", "none://u@", "none:///path", "none://:pw@h"])
def test_none_with_an_address_is_half_a_url_and_refused(url: str) -> None:
    with pytest.raises(InvalidURL, match=r"none:// takes no user, host or path|host has no name"):
        open_signer(PluginHost(), url)
    with pytest.raises(InvalidURL):
        open_backend(PluginHost(), url)


@pytest.mark.parametrize(
    ("factory", "said"),
    [
        ("no_such_driver_module:Broker", "ModuleNotFoundError: No module named 'no_such_driver"),
        ("driver:Brocker", "AttributeError: module 'driver' has no attribute 'Brocker'"),
        ("driver:Plain", "TypeError: driver:Plain.open is not an async class method"),
        ("driver:Leaves", r"SystemExit: 3 \[.*driver.py:6\]"),
        ("driver:Fails", r"RuntimeError: no luck \[.*driver.py:9\]"),
    ],
)
def test_a_factory_that_fails_names_the_plugin_and_the_cause(
    site: Site, factory: str, said: str
) -> None:
    site.module(
        "driver",
        """
        class Plain:
            open = classmethod(lambda cls, *a: 7)
        class Leaves:
            @classmethod
            async def open(cls, *a): raise SystemExit(3)
        class Fails:
            @classmethod
            async def open(cls, *a): raise RuntimeError("no luck")
        """,
    )
    _broker_with(site, factory)
    with pytest.raises(PluginBroken, match=f"stem-fake 1.0 .*{said}"):
        open_broker(site.host(), "fake://h")


def test_a_connection_that_fails_is_a_store_that_is_not_there(site: Site) -> None:
    _failing(site, 'ConnectionRefusedError("no route to hunter2")')
    with pytest.raises(
        StoreUnavailable, match=r"fake://u:\*\*\*@h .*ConnectionRefusedError"
    ) as caught:
        open_broker(site.host(), "fake://u:hunter2@h")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("url", ["fake://u:hunter2@h", "fake://h?token=hunter2"])
def test_a_drivers_error_is_hidden_where_it_may_hold_a_secret(site: Site, url: str) -> None:
    _failing(site, 'ValueError("missing = after hunter2")', options=True)
    with pytest.raises(PluginBroken, match="ValueError") as caught:
        open_broker(site.host(), url)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_a_signers_error_is_always_hidden_for_it_has_read_keys(site: Site) -> None:
    _signer(
        site,
        "class Factory:\n    @classmethod\n    def open(cls, *a): raise ValueError('hunter2')",
    )
    with pytest.raises(PluginBroken, match=r"vow:// could not be opened .* ValueError") as caught:
        open_signer(site.host(), "vow://")
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_our_own_errors_pass_unchanged(site: Site) -> None:
    _failing(site, 'StoreMisconfigured("wrong password", way_out="ask")')
    with pytest.raises(StoreMisconfigured, match=r"^wrong password\n  ask$"):
        open_broker(site.host(), "fake://u:pw@h")


# ── wrappers ─────────────────────────────────────────────────────────────────


class Loud:
    """Stands around whatever is opened and tells."""

    STEM_PLUGIN_API = (1, 0)

    def __init__(self) -> None:
        self.seen: list[Any] = []

    @hookimpl(wrapper=True)
    def stem_open_broker(self, spec: Any, url: Any) -> Any:
        opening = yield

        async def told() -> Any:
            broker = await opening
            self.seen.append((spec.schemes, url.scheme, type(broker).__name__))
            return broker

        return told()


def test_a_registered_wrapper_stands_around_memory(site: Site) -> None:
    host, loud = PluginHost(), Loud()
    host.register(loud)
    assert type(open_broker(host, "memory://wrapped")).__name__ == "InMemoryBroker"
    assert loud.seen == [(("memory",), "memory", "InMemoryBroker")]


def test_a_wrapper_from_an_entry_point_may_replace_what_is_opened(site: Site) -> None:
    site.module(
        "wrapping",
        """
        from stem_core.contracts.hookspecs import hookimpl
        from unit.discovery.fakes import FakeBroker
        STEM_PLUGIN_API = (1, 0)
        class Leaky(FakeBroker):
            inner = None
        @hookimpl(wrapper=True)
        def stem_open_broker(spec, url, options, context):
            opening = yield
            async def opened():
                leaky = Leaky(url, options, context)
                leaky.inner = await opening
                return leaky
            return opened()
        """,
    )
    site.distribution("stem-leaky", groups={"stem.plugins": {"leaky": "wrapping"}})
    site.broker("fake")
    broker = open_broker(site.host(), "fake://h")
    assert type(broker).__name__ == "Leaky"
    assert isinstance(broker.inner, FakeBroker)


def test_a_wrapper_that_never_awaits_leaves_nothing_half_open(site: Site) -> None:
    class Cache:
        STEM_PLUGIN_API = (1, 0)
        kept = FakeBroker(None, None, CONTEXT)  # type: ignore[arg-type]  # never looked at

        @hookimpl(wrapper=True)
        def stem_open_broker(self) -> Any:
            yield

            async def kept() -> Any:
                return self.kept

            return kept()

    _broker_with(site, "no_such_driver_module:Broker")
    host, cache = site.host(), Cache()
    host.register(cache)
    assert open_broker(host, "fake://h") is cache.kept


def test_a_wrapper_that_loses_the_broker_is_told(site: Site) -> None:
    class Loses:
        STEM_PLUGIN_API = (1, 0)

        @hookimpl(wrapper=True)
        def stem_open_broker(self) -> Any:
            yield

    site.broker("fake")
    host = site.host()
    host.register(Loses())
    with pytest.raises(PluginBroken, match="stem_open_broker gave NoneType"):
        open_broker(host, "fake://h")


def _broker_with(site: Site, factory: str, options: str = "") -> None:
    site.module(
        "fake_plugin",
        f"""
        from stem_core.contracts.hookspecs import *
        STEM_PLUGIN_API = (1, 0)
        @hookimpl
        def stem_register_brokers():
            return [BrokerSpec(schemes=("fake",), factory={factory!r}, options={options!r})]
        """,
    )
    site.distribution("stem-fake", groups={"stem.brokers": {"fake": "fake_plugin"}})


def _failing(site: Site, error: str, *, options: bool = False) -> None:
    site.module(
        "driver",
        f"""
        from attrs import frozen
        from stem_core.model.errors import StoreMisconfigured
        @frozen
        class Options:
            token: str = ""
        class Fails:
            @classmethod
            async def open(cls, *a): raise {error}
        """,
    )
    _broker_with(site, "driver:Fails", "driver:Options" if options else "")


def _signer(site: Site, factory: str) -> None:
    site.module("vow_factory", factory)
    site.module(
        "vow_plugin",
        """
        from stem_core.contracts.hookspecs import *
        STEM_PLUGIN_API = (1, 0)
        @hookimpl
        def stem_register_signers():
            return [SignerSpec(schemes=("vow",), factory="vow_factory:Factory")]
        """,
    )
    site.distribution("stem-vow", groups={"stem.signers": {"vow": "vow_plugin"}})

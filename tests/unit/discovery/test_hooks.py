"""What plugins add beside brokers: middleware, observers, health checks, commands."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest
from unit.discovery.fakes import Site, open_broker

from stem_core.contracts.hookspecs import AppInfo, CommandSpec, HealthCheck, Middleware, hookimpl
from stem_core.contracts.observer import Event
from stem_core.discovery.host import PluginHost
from stem_core.model.errors import PluginBroken

INFO = AppInfo(namespace="shop", role="worker")


class Named(Middleware):
    def __init__(self, name: str) -> None:
        self.name = name


class Watching:
    """Offers one of each, and keeps what it was told."""

    STEM_PLUGIN_API = (1, 0)

    def __init__(self, name: str) -> None:
        self.name, self.infos = name, [INFO][:0]

    @hookimpl
    def stem_middleware(self, app: AppInfo) -> list[Middleware]:
        self.infos.append(app)
        return [Named(self.name)]

    @hookimpl
    def stem_observers(self) -> list[Any]:
        return [self]

    def on_event(self, event: Event, /) -> None:
        """Take no note."""

    @hookimpl
    def stem_health_checks(self) -> tuple[HealthCheck, ...]:
        async def check() -> str:
            return ""

        return (HealthCheck(name=self.name, check=check),)

    @hookimpl
    def stem_commands(self) -> list[CommandSpec]:
        return [CommandSpec(name=self.name, target=f"{self.name}:main")]


class Fails:
    STEM_PLUGIN_API = (1, 0)

    def __init__(self, answer: Any = None) -> None:
        self.answer = answer

    def give(self) -> Any:
        if self.answer is None:
            raise RuntimeError("no luck")
        return self.answer

    @hookimpl
    def stem_middleware(self) -> Any:
        return self.give()

    @hookimpl
    def stem_observers(self) -> Any:
        return self.give()

    @hookimpl
    def stem_health_checks(self) -> Any:
        return self.give()

    @hookimpl
    def stem_commands(self) -> Any:
        return self.give()


def test_hooks_are_collected_in_the_order_of_registration(site: Site) -> None:
    host, first, second = site.host(), Watching("first"), Watching("second")
    host.register(first)
    host.register(second)
    assert [one.name for one in host.middleware(INFO) if isinstance(one, Named)] == [
        "first",
        "second",
    ]
    assert first.infos == [INFO]
    assert host.observers(INFO) == (first, second)
    checks = host.health_checks(INFO)
    assert [check.name for check in checks] == ["first", "second"]

    async def ask() -> str:
        return await checks[0].check()

    assert asyncio.run(ask()) == ""


def test_always_on_plugins_take_part_once_however_many_names_they_have(site: Site) -> None:
    site.module("always", "from unit.discovery.test_hooks import Watching\nplugin = Watching('a')")
    site.distribution(
        "stem-always", groups={"stem.plugins": {"one": "always:plugin", "two": "always:plugin"}}
    )
    site.distribution("stem-same", groups={"stem.plugins": {"three": "always:plugin"}})
    assert [one.name for one in site.host().health_checks(INFO)] == ["a"]


def test_a_plugin_of_a_scheme_takes_part_once_it_is_opened(site: Site) -> None:
    site.broker(
        "fake",
        extra="""
        from unit.discovery.test_hooks import Watching
        watching = Watching("fake")
        @hookimpl
        def stem_observers(app):
            return [watching]
        """,
    )
    host = site.host()
    assert host.observers(INFO) == ()
    open_broker(host, "fake://h")
    assert len(host.observers(INFO)) == 1


def test_middleware_that_fails_is_an_error_for_messages_would_differ(site: Site) -> None:
    host = site.host()
    host.register(Fails(), name="bad")
    with pytest.raises(PluginBroken, match=r"bad .*stem_middleware failed: RuntimeError: no luck"):
        host.middleware(INFO)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (None, "failed: RuntimeError: no luck"),
        (7, "returned int, not a list"),
        ([7], "offers int, not "),
    ],
)
@pytest.mark.parametrize("hook", ["observers", "health_checks"])
def test_one_that_watches_and_fails_is_a_warning_and_the_others_go_on(
    site: Site, caplog: pytest.LogCaptureFixture, hook: str, answer: Any, said: str
) -> None:
    host = site.host()
    host.register(Fails(answer), name="bad")
    host.register(Watching("good"))
    assert len(getattr(host, hook)(INFO)) == 1
    assert f"plugin bad (by register()): stem_{hook} {said}" in caplog.text
    strict = site.host(strict=True)
    strict.register(Fails(answer), name="bad")
    with pytest.raises(PluginBroken, match=said):
        getattr(strict, hook)(INFO)


def test_what_fails_every_time_is_said_once(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    host = site.host()
    host.register(Fails(), name="bad")
    host.observers(INFO)
    host.observers(INFO)
    assert len(caplog.records) == 1


def test_a_wrapper_around_a_collected_hook_is_no_answer_to_it(site: Site) -> None:
    class Wraps:
        STEM_PLUGIN_API = (1, 0)

        @hookimpl(wrapper=True)
        def stem_observers(self) -> Any:
            return (yield)

    host = site.host(strict=True)
    host.register(Wraps())
    assert host.observers(INFO) == ()


# ── commands ─────────────────────────────────────────────────────────────────


def test_commands_are_listed_without_importing_them(site: Site) -> None:
    site.module("tool", "def main(): return 7")
    site.distribution("stem-tool", "2.0", {"stem.commands": {"certify": "tool:main"}})
    host = site.host()
    [spec] = host.commands()
    assert spec == CommandSpec(name="certify", target="tool:main", summary="from stem-tool 2.0")
    assert "tool" not in sys.modules
    assert host.load_command(spec)() == 7


def test_what_is_registered_or_named_may_add_commands_and_wins(site: Site) -> None:
    site.module("named", "from unit.discovery.test_hooks import Watching\nplugin = Watching('n')")
    site.distribution("stem-tool", groups={"stem.commands": {"mine": "tool:main", "n": "tool:n"}})
    host = site.host(modules=("named:plugin",))
    host.register(Watching("mine"))
    assert [(one.name, one.target) for one in host.commands()] == [
        ("mine", "mine:main"),
        ("n", "n:main"),
    ]


def test_a_command_of_two_distributions_is_left_out_until_one_is_preferred(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.distribution("stem-a", groups={"stem.commands": {"certify": "a:main", "other": "a:o"}})
    site.distribution("stem-b", groups={"stem.commands": {"certify": "b:main"}})
    assert [one.name for one in site.host().commands()] == ["other"]
    assert "command 'certify' is provided by stem-a 1.0 and stem-b 1.0" in caplog.text
    found = site.host(prefer={"certify": "stem-b"}).commands()
    assert [one.target for one in found] == ["b:main", "a:o"]


def test_a_command_that_fails_to_load_says_whose_it_is(site: Site) -> None:
    site.module("tool", "raise SystemExit(9)")
    site.distribution("stem-tool", "2.0", {"stem.commands": {"certify": "tool:main"}})
    host = site.host()
    with pytest.raises(PluginBroken, match=r"plugin stem-tool 2.0 \(tool:main\) .*SystemExit: 9"):
        host.load_command(host.commands()[0])
    with pytest.raises(PluginBroken, match=r"plugin gone:main \(by register"):
        host.load_command(CommandSpec(name="gone", target="gone:main"))


def test_a_plugin_that_fails_hides_no_command_of_others(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.distribution("stem-tool", groups={"stem.commands": {"certify": "tool:main"}})
    host = site.host(modules=("no_such_module",))
    host.register(Fails(), name="bad")
    assert [one.name for one in host.commands()] == ["certify"]
    assert "no_such_module" in caplog.text
    assert "stem_commands failed" in caplog.text


def test_the_core_offers_no_hooks_that_nobody_asked_for() -> None:
    host = PluginHost()
    assert host.middleware(INFO) == ()
    assert host.observers(INFO) == ()
    assert host.health_checks(INFO) == ()

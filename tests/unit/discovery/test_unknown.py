"""A scheme that nothing opens: what to type next."""

from __future__ import annotations

from typing import Any

import pytest
from unit.discovery.fakes import Site, open_backend, open_broker, open_signer

from stem_core.contracts.hookspecs import hookimpl
from stem_core.discovery.explain import FirstParty, hint_at
from stem_core.discovery.host import PluginHost
from stem_core.model.errors import PluginBroken, UnknownScheme


@pytest.mark.parametrize(
    ("scheme", "distribution"),
    [
        ("redis", "stem-redis"),
        ("rediss", "stem-redis"),
        ("redis+unix", "stem-redis"),
        ("postgresql", "stem-postgres"),
        ("postgres", "stem-postgres"),
        ("pg", "stem-postgres"),
    ],
)
def test_a_scheme_of_our_own_says_what_to_install(
    site: Site, scheme: str, distribution: str
) -> None:
    site.broker("fake")
    base = scheme.partition("+")[0]
    with pytest.raises(UnknownScheme) as caught:
        open_broker(site.host(), f"{scheme}://localhost/0")
    assert str(caught.value) == (
        f"no broker plugin for URL scheme {base!r} — pip install {distribution}\n"
        "  installed broker schemes: fake   (see: stem plugins)"
    )
    with pytest.raises(UnknownScheme, match=f"no backend plugin .* pip install {distribution}"):
        open_backend(site.host(), f"{scheme}://localhost/0")


@pytest.mark.parametrize("scheme", ["hmac-sha256", "ed25519"])
def test_a_signer_of_our_own_says_what_will_open_it(site: Site, scheme: str) -> None:
    with pytest.raises(UnknownScheme, match="pip install stem-signing") as caught:
        open_signer(site.host(), f"{scheme}://")
    assert caught.value.way_out == "installed signer schemes: none   (see: stem plugins)"


def test_what_is_not_built_is_said_the_same_with_its_empty_distribution_installed() -> None:
    unbuilt = FirstParty("stem-x", is_built=False)
    before, after = hint_at(unbuilt, "x", None), hint_at(unbuilt, "x", "0.0.1")
    assert before == after
    assert "stem-x opens x:// and is not built yet in this release" in before


@pytest.mark.parametrize(
    ("installed", "says"),
    [
        (None, "pip install stem-x"),
        ("0.1", "stem-x 0.1 is installed and does not offer it: upgrade stem-x"),
    ],
)
def test_a_distribution_that_is_built_is_to_be_installed_or_upgraded(
    installed: str | None, says: str
) -> None:
    assert hint_at(FirstParty("stem-x", is_built=True), "x", installed) == says


def test_sqlite_is_said_to_come_later(site: Site) -> None:
    with pytest.raises(UnknownScheme, match="sqlite:// is not built yet in this release"):
        open_broker(site.host(), "sqlite:///tasks.db")


@pytest.mark.parametrize(
    ("typed", "guess"),
    [
        ("faek", "did you mean 'fake'?"),
        ("redsi", "did you mean 'redis'? (pip install stem-redis)"),
        ("postgre", "did you mean 'postgres'? (pip install stem-postgres)"),
        ("fake.cloud", "did you mean 'fake+cloud'?"),
    ],
)
def test_a_mistyped_scheme_is_guessed(site: Site, typed: str, guess: str) -> None:
    site.broker("fake")
    site.broker("fake.cloud", distribution="stem-cloud", module="cloud")
    with pytest.raises(UnknownScheme) as caught:
        open_broker(site.host(), f"{typed}://h")
    assert caught.value.message == f"no broker plugin for URL scheme {typed!r} — {guess}"


def test_a_scheme_that_resembles_nothing_gets_no_guess_and_nothing_to_install(site: Site) -> None:
    site.broker("fake")
    with pytest.raises(UnknownScheme) as caught:
        open_broker(site.host(), "kafka://h")
    assert caught.value.message == "no broker plugin for URL scheme 'kafka'"
    assert "pip install" not in str(caught.value)


def test_a_scheme_of_another_kind_says_so() -> None:
    with pytest.raises(UnknownScheme, match="'none' is a scheme of backends and signers only"):
        open_broker(PluginHost(), "none://")


class Hints:
    """A plugin that knows where to get sqs://."""

    STEM_PLUGIN_API = (1, 0)

    @hookimpl
    def stem_url_hint(self, kind: str, scheme: str) -> str | None:
        return f"ask the {kind} team" if scheme == "sqs" else None


def test_a_plugin_may_hint_at_what_it_knows(site: Site) -> None:
    host = site.host()
    host.register(Hints())
    with pytest.raises(UnknownScheme, match="'sqs' — ask the broker team"):
        open_broker(host, "sqs://h")
    with pytest.raises(UnknownScheme, match="'kafka'\n"):
        open_broker(host, "kafka://h")


def test_no_plugin_can_redirect_what_our_own_schemes_say(site: Site) -> None:
    class Redirects:
        STEM_PLUGIN_API = (1, 0)

        @hookimpl
        def stem_url_hint(self) -> str:
            return "pip install stem-rediss"

    host = site.host()
    host.register(Redirects())
    with pytest.raises(UnknownScheme, match="pip install stem-redis\n"):
        open_broker(host, "redis://h")


def test_a_hint_that_fails_is_left_out(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    class Fails:
        STEM_PLUGIN_API = (1, 0)

        @hookimpl
        def stem_url_hint(self) -> Any:
            raise RuntimeError("no idea")

    host, strict = site.host(), site.host(strict=True)
    host.register(Fails(), name="clueless")
    strict.register(Fails(), name="clueless")
    with pytest.raises(UnknownScheme, match="'kafka'\n"):
        open_broker(host, "kafka://h")
    assert "clueless (by register()): stem_url_hint failed: RuntimeError: no idea" in caplog.text
    with pytest.raises(PluginBroken, match="no idea"):
        open_broker(strict, "kafka://h")


def test_the_message_of_an_unknown_scheme_holds_no_secret(site: Site) -> None:
    with pytest.raises(UnknownScheme) as caught:
        open_broker(site.host(), "kafka://u:hunter2@h?token=hunter2")
    assert "hunter2" not in str(caught.value)

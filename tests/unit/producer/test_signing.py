from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from typing import Any

import pytest
from unit.producer.stores import HmacSigner, fresh_name

from stem_core.contracts.hookspecs import PluginContext, SignerSpec, hookimpl
from stem_core.contracts.signer import Signer
from stem_core.discovery.host import PluginHost
from stem_core.model.errors import ConfigError, SignatureMissing
from stem_core.model.secrets import Secret
from stem_core.model.settings import SigningConfig, StemConfig
from stem_core.model.urls import StemURL
from stem_core.producer.client import Stem
from stem_core.producer.signing import PayloadSigner

KEY = b"0123456789abcdef0123456789abcdef"
KEYS = SigningConfig(keys={"one": Secret(KEY)}, active_key="one")
NO_KEYS = SigningConfig()


class SigningPlugin:
    """A plugin of ``hmac-sha256`` that reads its keys by name, as stem-signing does."""

    STEM_PLUGIN_API = (1, 0)

    @hookimpl
    def stem_register_signers(self) -> Sequence[SignerSpec]:
        return [SignerSpec(schemes=("hmac-sha256",), factory=f"{__name__}:OpenedSigner")]


class OpenedSigner(HmacSigner):
    @classmethod
    def open(cls, url: StemURL, options: Any, context: PluginContext) -> Signer:
        name, _, text = context.environment["STEM_SIGNING_KEYS"].partition(":")
        return cls(base64.b64decode(text), name)


def with_plugin() -> PluginHost:
    plugins = PluginHost()
    plugins.register(SigningPlugin())
    return plugins


def without_plugin() -> PluginHost:
    return PluginHost(entry_points=lambda group: [])


def fresh(**given: Any) -> Stem:
    return Stem(f"memory://{fresh_name()}", **given)


def test_without_keys_there_is_no_signer() -> None:
    assert PayloadSigner.maybe(NO_KEYS) is None
    assert fresh(config=StemConfig()).pipeline.signer is None


def test_with_keys_and_their_plugin_everything_is_signed() -> None:
    async def main() -> None:
        stem = fresh(config=StemConfig(signing=KEYS), plugins=with_plugin())
        task_id = await stem.enqueue("a")
        [located] = await (await stem.lane()).broker.lookup([task_id])
        assert located is not None
        message = located.message
        assert (message.algorithm, message.key_id) == ("hmac-sha256", "one")
        assert stem.pipeline.open_message(message).id == task_id
        unsigned = fresh(config=StemConfig()).pipeline.prepare(stem.call("a"))
        with pytest.raises(SignatureMissing):
            stem.pipeline.open_message(unsigned)

    asyncio.run(main())


def test_maybe_gives_the_signer_that_the_keys_make() -> None:
    signer = PayloadSigner.maybe(KEYS, plugins=with_plugin())
    assert isinstance(signer, HmacSigner)
    seal = signer.sign("purpose", b"body")
    HmacSigner(KEY).verify("purpose", b"body", seal)


def test_who_asks_for_a_signer_is_as_strict_as_the_settings() -> None:
    class Strict(SigningPlugin):
        @hookimpl
        def stem_open_signer(self, spec, url, options, context):
            asked.append(context.strict)

    asked: list[bool] = []
    plugins = PluginHost()
    plugins.register(Strict())
    for strict in ("0", "1"):
        env = {
            "STEM_SIGNING_KEYS": f"one:{base64.b64encode(KEY).decode()}",
            "STEM_STRICT": strict,
        }
        config = StemConfig.from_environment(env, require_broker=False)
        PayloadSigner.maybe(config.signing, plugins=plugins)
    assert asked == [False, True]


def test_keys_without_a_plugin_are_an_error_that_names_the_package() -> None:
    with pytest.raises(ConfigError, match="pip install stem-signing"):
        PayloadSigner.maybe(KEYS, plugins=without_plugin())
    with pytest.raises(ConfigError, match="pip install stem-signing"):
        _ = fresh(config=StemConfig(signing=KEYS), plugins=without_plugin()).pipeline


@pytest.mark.parametrize("asked", [None, "none://"])
def test_unsigned_beside_keys_is_possible_when_it_is_asked_for_and_is_logged(
    asked: Any, caplog: pytest.LogCaptureFixture
) -> None:
    stem = fresh(config=StemConfig(signing=KEYS), signer=asked)
    assert stem.pipeline.signer is None
    assert "unsigned" in caplog.text
    assert KEY.decode() not in caplog.text


def test_unsigned_without_keys_is_nothing_to_talk_about(caplog: pytest.LogCaptureFixture) -> None:
    assert fresh(config=StemConfig(), signer=None).pipeline.signer is None
    assert not caplog.messages


def test_a_signer_that_is_given_is_used_whatever_is_configured() -> None:
    signer = HmacSigner()
    assert fresh(config=StemConfig(signing=KEYS), signer=signer).pipeline.signer is signer

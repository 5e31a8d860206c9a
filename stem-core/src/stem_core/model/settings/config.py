"""The settings themselves, and which of them contradict each other.

Rule of this module: declarations first, judgement below; those of a worker are in
`worker`, how a text is read is `readers`, how an environment is walked is `environment`.
"""

# ruff: noqa: RUF009 -- `setting` is a field specifier, which ruff cannot know
from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

from attrs import Attribute, field, frozen

from stem_core.model.duration import Milliseconds
from stem_core.model.errors import ConfigError, MissingSetting
from stem_core.model.settings.commands import COMMAND_VARIABLES
from stem_core.model.settings.environment import Variables, setting, settings_of
from stem_core.model.settings.readers import (
    LogLevel,
    read_log_level,
    read_namespace,
    read_preferences,
    read_queue,
    read_routes,
    read_url,
)
from stem_core.model.settings.security import (
    SigningConfig,
    TlsConfig,
    check_tls,
    signing_contradictions,
    tls_contradictions,
)
from stem_core.model.settings.worker import WorkerSettings
from stem_core.model.urls import StemURL

__all__ = ["StemConfig"]

_DAY: Final = 86_400_000
_LONGEST_KEPT_MS: Final = 10 * 365 * _DAY
"""No store takes longer: a dead letter would be refused, and its task come back for ever."""

_OF_A_WORKER: Final = frozenset(field.name for field in settings_of(WorkerSettings))


def _own_first(_: type[Any], fields: list[Attribute[Any]]) -> list[Attribute[Any]]:
    """Put what a class inherits last: whoever lists the settings begins with the broker."""
    return sorted(fields, key=_is_of_a_worker)


def _is_of_a_worker(field: Attribute[Any]) -> bool:
    return field.name in _OF_A_WORKER


@frozen(kw_only=True, field_transformer=_own_first)
class StemConfig(WorkerSettings):
    """Every setting of a deployment.

    Attributes:
        warnings: what was read and looks wrong without being an error.
        origins: where each field comes from, by its name (``"tls.allow_insecure"``).
    """

    broker_url: StemURL | None = setting(
        "STEM_BROKER_URL",
        read=read_url,
        help="The broker that moves the work. Required.",
        example="sqlite:///tasks.db",
        or_file=True,
    )
    result_backend_url: StemURL | None = setting(
        "STEM_RESULT_BACKEND_URL",
        read=read_url,
        help="The backend that remembers results; `none://` for none. "
        "Without it the broker's own store, where its plugin has a backend.",
        example="sqlite:///results.db",
        or_file=True,
    )
    signer_url: StemURL | None = setting(
        "STEM_SIGNER_URL",
        read=read_url,
        help="The signer, instead of `STEM_SIGNING_*`; `none://` for none.",
        example="hmac-sha256+file:///run/secrets/stem",
        or_file=True,
    )
    namespace: str = setting(
        "STEM_NAMESPACE",
        default="stem",
        read=read_namespace,
        help="Prefix of everything that Stem stores.",
        example="shop",
    )
    default_queue: str = setting(
        "STEM_DEFAULT_QUEUE",
        default="default",
        read=read_queue,
        help="Queue of a task that names none.",
        example="low",
    )
    default_max_retries: int = setting(
        "STEM_DEFAULT_MAX_RETRIES",
        default=3,
        minimum=0,
        help="Attempts after the first, of a task that does not say.",
        example="5",
    )
    default_visibility_timeout_ms: Milliseconds = setting(
        "STEM_DEFAULT_VISIBILITY_TIMEOUT",
        default=Milliseconds(30_000),
        minimum=1_000,
        help="How long a worker may be silent before its task is given to another.",
        example="1m",
    )
    routes: Mapping[str, str] = setting(
        "STEM_ROUTES",
        default={},
        read=read_routes,
        help="Queues by pattern of task names: pairs, or a JSON object.",
        example="billing.*=billing,reports.*=reports",
    )
    max_payload: int = setting(
        "STEM_MAX_PAYLOAD",
        default=1_048_576,
        minimum=1_024,
        help="Largest encoded envelope or result, in bytes.",
        example="262144",
    )
    publish_deadline_ms: Milliseconds = setting(
        "STEM_PUBLISH_DEADLINE",
        default=Milliseconds(10_000),
        minimum=1,
        help="How long an enqueue tries before it raises.",
        example="3s",
    )
    result_ttl_ms: Milliseconds = setting(
        "STEM_RESULT_TTL",
        default=Milliseconds(_DAY),
        minimum=1,
        maximum=_LONGEST_KEPT_MS,
        help="How long the backend keeps a result.",
        example="1h",
    )
    failure_ttl_ms: Milliseconds = setting(
        "STEM_FAILURE_TTL",
        default=Milliseconds(7 * _DAY),
        minimum=1,
        maximum=_LONGEST_KEPT_MS,
        help="How long the backend keeps the record of a task that did not succeed.",
        example="30d",
    )
    dead_letter_ttl_ms: Milliseconds = setting(
        "STEM_DEAD_LETTER_TTL",
        default=Milliseconds(30 * _DAY),
        minimum=1,
        maximum=_LONGEST_KEPT_MS,
        help="How long the broker keeps a dead letter.",
        example="90d",
    )
    park_limit_ms: Milliseconds = setting(
        "STEM_PARK_LIMIT",
        default=Milliseconds(3_600_000),
        minimum=0,
        help="How long a task that no worker knows waits before it is a dead letter.",
        example="10m",
    )
    max_lapses: int = setting(
        "STEM_MAX_LAPSES",
        default=5,
        minimum=1,
        help="Leases in a row that may lapse before a message is poison.",
        example="3",
    )
    log_level: LogLevel = setting(
        "STEM_LOG_LEVEL",
        default="info",
        read=read_log_level,
        help="What the `stem` command logs, from this level up.",
        example="debug",
    )
    log_format: Literal["auto", "text", "json"] = setting(
        "STEM_LOG_FORMAT",
        default="auto",
        help="How it logs; `auto` is text on a terminal and JSON elsewhere.",
        example="json",
    )
    signing_policy: Literal["off", "accept", "require"] | None = setting(
        "STEM_SIGNING_POLICY",
        help="What a worker asks of signatures: `off`, `accept` what nobody signed too, or "
        "`require` one. Without it `require` as soon as there are keys.",
        example="accept",
    )
    signing_results: Literal["off", "accept", "require"] = setting(
        "STEM_SIGNING_RESULTS",
        default="off",
        help="Whether workers sign results, and readers verify them: `off`, `accept` what nobody "
        "signed too, or `require` a signature of every success.",
        example="require",
    )
    strict: bool = setting(
        "STEM_STRICT",
        default=False,
        help="Refuse what otherwise only warns, such as an unknown `STEM_` variable.",
        example="1",
    )
    app: str | None = setting(
        "STEM_APP",
        help="The application of the `stem` command, `module:attribute`.",
        example="shop.tasks:stem",
    )
    plugins: tuple[str, ...] = setting(
        "STEM_PLUGINS",
        default=(),
        help="Plugin modules to load besides the discovered ones.",
        example="shop.stem_plugin",
    )
    plugins_autoload: bool = setting(
        "STEM_PLUGINS_AUTOLOAD",
        default=True,
        help="Discover installed plugins; switched off, only `STEM_PLUGINS` are used.",
        example="0",
    )
    plugins_disable: tuple[str, ...] = setting(
        "STEM_PLUGINS_DISABLE",
        default=(),
        help="Distributions whose plugins are not used; `*` is every one that is not Stem's own.",
        example="stem-turbo",
    )
    plugins_prefer: Mapping[str, str] = setting(
        "STEM_PLUGINS_PREFER",
        default={},
        read=read_preferences,
        help="Which distribution opens a scheme that several claim.",
        example="redis=stem-redis",
    )
    plugins_strict: bool = setting(
        "STEM_PLUGINS_STRICT",
        default=False,
        help="Refuse what plugins otherwise only warn about.",
        example="1",
    )
    tls: TlsConfig = field(factory=TlsConfig)
    signing: SigningConfig = field(factory=SigningConfig)
    warnings: tuple[str, ...] = ()
    origins: Mapping[str, str] = field(factory=dict, eq=False)

    @classmethod
    def from_environment(
        cls, env: Mapping[str, str] | None = None, *, require_broker: bool = True
    ) -> StemConfig:
        """Return the settings of *env*, by default of this process.

        Raises:
            MissingSetting: `STEM_BROKER_URL` is not there, and nothing else is wrong.
            ConfigError: everything that is wrong, at once.
        """
        variables = Variables.of(os.environ if env is None else env)
        variables.judge_unknown((cls, TlsConfig, SigningConfig), COMMAND_VARIABLES)
        values = variables.read(cls)
        tls = TlsConfig(**variables.read(TlsConfig, prefix="tls."))
        signing = SigningConfig(
            **variables.read(SigningConfig, prefix="signing."),
            strict=values.get("strict", False),
            files=variables.files(SigningConfig),
        )
        config = cls(
            **values,
            tls=tls,
            signing=signing,
            warnings=tuple(variables.warnings),
            origins=variables.origins,
        )
        variables.problems += _contradictions(config, variables)
        if (
            require_broker
            and config.broker_url is None
            and variables.refused.isdisjoint(_BROKER_VARIABLES)
        ):
            variables.problems.append(_no_broker(variables.mistyped))
        variables.raise_problems()
        return config


_BROKER_VARIABLES: Final = ("STEM_BROKER_URL", "STEM_BROKER_URL_FILE")


def _no_broker(mistyped: Mapping[str, str]) -> MissingSetting:
    for name in _BROKER_VARIABLES:
        if name in mistyped:
            way_out = f"{mistyped[name]} is set. Did you mean {name}?"
            break
    else:
        way_out = (
            "Example: STEM_BROKER_URL=sqlite:///tasks.db, one file for all processes of a machine. "
            "Plugins add brokers for several machines: `stem plugins` lists what is installed."
        )
    return MissingSetting("STEM_BROKER_URL is not set", way_out=way_out)


def _contradictions(config: StemConfig, variables: Variables) -> Iterator[ConfigError]:
    """Yield what is wrong between settings that are right, each on its own."""
    if config.strict:
        yield from map(ConfigError, config.warnings)
    yield from tls_contradictions(config.tls)
    given = {
        field: origin.rsplit(" ", 1)[-1]  # the variable
        for field, origin in config.origins.items()
        if origin != "default"
    }
    for name, url in (
        ("broker_url", config.broker_url),
        ("result_backend_url", config.result_backend_url),
    ):
        try:
            if url is not None:
                check_tls(url, config.tls, source=given[name])
        except ConfigError as error:
            yield error
    signing = [variable for field, variable in given.items() if field.startswith("signing.")]
    if config.signer_url is not None and signing:
        yield ConfigError(
            f"{given['signer_url']} and {signing[0]} are both set", way_out="Unset one of them."
        )
    elif signing and not any(name.startswith("STEM_SIGNING_") for name in variables.refused):
        yield from signing_contradictions(config.signing)

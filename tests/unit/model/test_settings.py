from __future__ import annotations

import base64
import re
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stem_core.cli.program import COMMANDS, load_command
from stem_core.discovery.host import PluginHost
from stem_core.discovery.settings import PluginSettings
from stem_core.model.errors import ConfigError, InvalidURL, MissingSetting
from stem_core.model.secrets import Secret
from stem_core.model.settings import (
    SigningConfig,
    StemConfig,
    TlsConfig,
    check_tls,
    reference_markdown,
)
from stem_core.model.settings.commands import COMMAND_VARIABLES
from stem_core.model.settings.environment import settings_of
from stem_core.model.urls import StemURL

ROOT = Path(__file__).parents[3]
KEY = base64.b64encode(b"k" * 32).decode()
OTHER_KEY = base64.b64encode(b"o" * 32).decode()
VARIABLES = [
    f.metadata["env"] for cls in (StemConfig, TlsConfig, SigningConfig) for f in settings_of(cls)
]


def config(**env: str) -> StemConfig:
    return StemConfig.from_environment({"STEM_BROKER_URL": "memory://"} | env)


def refusal(**env: str) -> str:
    with pytest.raises(ConfigError) as caught:
        config(**env)
    return str(caught.value)


# ── reading ──────────────────────────────────────────────────────────────────


def test_an_environment_with_a_broker_alone_is_the_defaults() -> None:
    expected = StemConfig(broker_url=StemURL.parse("memory://"))
    assert config() == expected
    assert config(PATH="/bin", OTHER="x") == expected


@pytest.mark.parametrize(
    ("variable", "text", "field", "value"),
    [
        ("STEM_RESULT_BACKEND_URL", "none://", "result_backend_url", StemURL.parse("none://")),
        ("STEM_SIGNER_URL", "none://", "signer_url", StemURL.parse("none://")),
        ("STEM_NAMESPACE", "shop", "namespace", "shop"),
        ("STEM_DEFAULT_QUEUE", "low", "default_queue", "low"),
        ("STEM_DEFAULT_MAX_RETRIES", "0", "default_max_retries", 0),
        ("STEM_DEFAULT_VISIBILITY_TIMEOUT", "1m", "default_visibility_timeout_ms", 60_000),
        ("STEM_ROUTES", "a.*=x, b=y", "routes", {"a.*": "x", "b": "y"}),
        ("STEM_ROUTES", '{"a.*": "x"}', "routes", {"a.*": "x"}),
        ("STEM_MAX_PAYLOAD", "2048", "max_payload", 2048),
        ("STEM_PUBLISH_DEADLINE", "250ms", "publish_deadline_ms", 250),
        ("STEM_RESULT_TTL", "1h", "result_ttl_ms", 3_600_000),
        ("STEM_FAILURE_TTL", "1d", "failure_ttl_ms", 86_400_000),
        ("STEM_DEAD_LETTER_TTL", "1w", "dead_letter_ttl_ms", 604_800_000),
        ("STEM_PARK_LIMIT", "0s", "park_limit_ms", 0),
        ("STEM_MAX_LAPSES", "1", "max_lapses", 1),
        ("STEM_WORKER_QUEUES", "pay:8, default", "worker_queues", {"pay": 8, "default": 1}),
        ("STEM_WORKER_CONCURRENCY", "7", "worker_concurrency", 7),
        ("STEM_WORKER_GRACE", "2m", "worker_grace_ms", 120_000),
        ("STEM_WORKER_PROCESSES", "4", "worker_processes", 4),
        ("STEM_WORKER_THREADS", "2", "worker_threads", 2),
        ("STEM_WORKER_MAX_RUN", "6h", "worker_max_run_ms", 21_600_000),
        ("STEM_WORKER_STALL_LIMIT", "1m", "worker_stall_limit_ms", 60_000),
        ("STEM_WORKER_POLL_LIMIT", "0s", "worker_poll_limit_ms", 0),
        ("STEM_WORKER_MAX_TASKS", "1", "worker_max_tasks", 1),
        ("STEM_WORKER_MAX_RSS", "512M", "worker_max_rss", 512 << 20),
        ("STEM_WORKER_HTTP", "8080", "worker_http", "127.0.0.1:8080"),
        ("STEM_PREFETCH_MULTIPLIER", "4", "prefetch_multiplier", 4),
        ("STEM_LOG_LEVEL", "WARNING", "log_level", "warning"),
        ("STEM_LOG_FORMAT", "json", "log_format", "json"),
        ("STEM_STRICT", "on", "strict", True),
        ("STEM_APP", "shop.tasks:stem", "app", "shop.tasks:stem"),
        ("STEM_PLUGINS", "a.b,c", "plugins", ("a.b", "c")),
        ("STEM_PLUGINS_AUTOLOAD", "No", "plugins_autoload", False),
        ("STEM_PLUGINS_DISABLE", "*", "plugins_disable", ("*",)),
        ("STEM_PLUGINS_PREFER", "redis=stem-turbo", "plugins_prefer", {"redis": "stem-turbo"}),
        ("STEM_PLUGINS_STRICT", "1", "plugins_strict", True),
    ],
)
def test_a_variable_sets_its_field_and_no_other(
    variable: str, text: str, field: str, value: object
) -> None:
    read, default = config(**{variable: text}), config()
    assert getattr(read, field) == value
    changed = [
        f.name for f in settings_of(StemConfig) if getattr(read, f.name) != getattr(default, f.name)
    ]
    assert changed == [field]
    assert read.origins[field] == f"environment {variable}"
    assert default.origins[field] == "default"


def test_every_example_of_the_reference_can_be_used() -> None:
    for field in settings_of(StemConfig):
        variable, example = field.metadata["env"], field.metadata["example"]
        read = config(**{variable: example})
        assert read.warnings == ()
        assert getattr(read, field.name) != field.default


def test_an_empty_variable_counts_as_not_given() -> None:
    assert config(STEM_NAMESPACE="", STEM_STRICT=" ").namespace == "stem"
    with pytest.raises(MissingSetting):
        StemConfig.from_environment({"STEM_BROKER_URL": ""})


def test_a_missing_broker_names_itself_and_an_example_that_can_be_opened() -> None:
    with pytest.raises(MissingSetting, match="STEM_BROKER_URL is not set") as caught:
        StemConfig.from_environment({})
    (example,) = re.findall(r"STEM_BROKER_URL=([^ ,]+)", caught.value.way_out)
    host = PluginHost(PluginSettings(autoload=False))
    assert host.offers("broker", StemURL.parse(example).scheme)


def test_a_missing_broker_is_found_under_the_name_that_it_was_given() -> None:
    with pytest.raises(MissingSetting, match="STEM_BROKER_URL is not set") as caught:
        StemConfig.from_environment({"STEM_BROKR_URL": "redis://u:hunter2@h", "STEM_NAMSPACE": "x"})
    assert caught.value.way_out == "STEM_BROKR_URL is set. Did you mean STEM_BROKER_URL?"


def test_a_broker_that_is_not_required_may_be_missing() -> None:
    assert StemConfig.from_environment({}, require_broker=False) == StemConfig()


def test_without_a_mapping_the_environment_of_the_process_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("STEM_BROKER_URL", "memory://mine")
    assert str(StemConfig.from_environment().broker_url) == "memory://mine"


# ── refusing ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("variable", "text", "complaint"),
    [
        ("STEM_STRICT", "nottrue", "expected true or false"),
        ("STEM_DEFAULT_MAX_RETRIES", "-1", "expected at least 0"),
        ("STEM_DEFAULT_MAX_RETRIES", "3.0", "expected an integer"),
        ("STEM_DEFAULT_VISIBILITY_TIMEOUT", "10ms", "expected at least 1s"),
        ("STEM_RESULT_TTL", "5", "expected a duration"),
        ("STEM_WORKER_CONCURRENCY", "0", "expected at least 1"),
        ("STEM_DEAD_LETTER_TTL", "4000d", "expected at most 3650d"),
        ("STEM_RESULT_TTL", "4000d", "expected at most 3650d"),
        ("STEM_WORKER_MAX_TASKS", "0", "expected at least 1"),
        ("STEM_WORKER_MAX_RSS", "512", "such as 512M or 2G"),
        ("STEM_WORKER_STALL_LIMIT", "10ms", "expected at least 1s"),
        ("STEM_LOG_LEVEL", "loud", "expected one of debug"),
        ("STEM_NAMESPACE", "a b", "' ' at character 2"),
        ("STEM_WORKER_QUEUES", "a,,b", "the queue is empty"),
        ("STEM_WORKER_QUEUES", ":3", "the queue is empty"),
        ("STEM_WORKER_QUEUES", "a:0", "such as default or billing:8"),
        ("STEM_WORKER_QUEUES", "a:", "such as default or billing:8"),
        ("STEM_WORKER_QUEUES", "a:1:2", "such as default or billing:8"),
        ("STEM_WORKER_QUEUES", "a:" + "9" * 5000, "such as default or billing:8"),
        ("STEM_WORKER_QUEUES", "a:1,a:2", "a is given twice"),
        ("STEM_ROUTES", "a.*", "name=value"),
        ("STEM_ROUTES", '{"a": 1}', "a JSON object of texts"),
        ("STEM_ROUTES", '{"a": ', "a JSON object of texts"),
        ("STEM_ROUTES", "a=x,a=y", "the pattern a is given twice"),
        ("STEM_ROUTES", "a b=x", "patterns of task names"),
        ("STEM_ROUTES", "a=x y", "' ' at character 2"),
        ("STEM_PLUGINS_PREFER", "redis=a,redis=b", "redis is given twice"),
        ("STEM_APP", "a\nb", "line break or control character"),
        ("STEM_APP", "a\0b", "line break or control character"),
        ("STEM_APP", "x" * 1_000_000, "too long"),
    ],
)
def test_a_wrong_value_is_refused_by_the_name_of_its_variable(
    variable: str, text: str, complaint: str
) -> None:
    told = refusal(**{variable: text})
    assert told.startswith(variable)
    assert complaint in told


def test_everything_wrong_is_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        StemConfig.from_environment(
            {"STEM_STRICT": "maybe", "STEM_MAX_LAPSES": "x", "STEM_TLS_CLIENT_KEY": "/k"}
        )
    told = str(caught.value)
    assert told.startswith("4 settings are wrong")
    for name in (
        "STEM_STRICT=",
        "STEM_MAX_LAPSES=",
        "STEM_TLS_CLIENT_CERT",
        "STEM_BROKER_URL is not set",
    ):
        assert name in told


def test_a_wrong_url_keeps_its_own_kind_of_error() -> None:
    with pytest.raises(InvalidURL, match="STEM_BROKER_URL: contains '#'"):
        StemConfig.from_environment({"STEM_BROKER_URL": "redis://u:p#w@h"})


def test_a_setting_given_in_code_is_held_to_the_same_limits() -> None:
    with pytest.raises(ConfigError, match="max_lapses=0: expected at least 1"):
        StemConfig(max_lapses=0)


# ── warning ──────────────────────────────────────────────────────────────────


def test_a_typo_is_a_warning_with_the_nearest_name() -> None:
    (warning,) = config(STEM_BROKR_URL="hunter2").warnings
    assert "STEM_BROKR_URL is not a variable of Stem" in warning
    assert "Did you mean STEM_BROKER_URL?" in warning
    assert "hunter2" not in warning


def test_a_typo_is_an_error_under_strict() -> None:
    assert "STEM_BROKR_URL is not a variable" in refusal(STEM_BROKR_URL="x", STEM_STRICT="1")


def test_the_variables_of_the_commands_are_those_that_their_options_read() -> None:
    settings = set(VARIABLES)
    assert settings.isdisjoint(COMMAND_VARIABLES)
    read = {name for command in COMMANDS for name in _variables_of(load_command(command))}
    assert read - settings == COMMAND_VARIABLES


def _variables_of(command: click.Command) -> Iterator[str]:
    for parameter in command.params:
        if parameter.envvar is not None:
            assert isinstance(parameter.envvar, str)
            yield parameter.envvar
    if isinstance(command, click.Group):
        for each in command.commands.values():
            yield from _variables_of(each)


@pytest.mark.parametrize("name", sorted(COMMAND_VARIABLES))
def test_a_variable_of_a_command_is_neither_warned_about_nor_refused(name: str) -> None:
    assert config(**{name: "1", "STEM_STRICT": "1"}).warnings == ()


def test_a_typo_in_the_variable_of_a_command_is_a_warning_too() -> None:
    (warning,) = config(STEM_ENQUEUE_QUEU="x").warnings
    assert "Did you mean STEM_ENQUEUE_QUEUE?" in warning


@pytest.mark.parametrize(
    "name",
    [
        "STEM_REDIS_SERVICE_HOST",
        "STEM_SERVICE_HOST",
        "STEM_REDIS_SERVICE_PORT",
        "STEM_REDIS_SERVICE_PORT_HTTP",
        "STEM_PORT",
        "STEM_REDIS_PORT_6379_TCP",
        "STEM_REDIS_PORT_6379_TCP_ADDR",
        "STEM_TEST_REDIS_URL",
    ],
)
def test_what_platforms_and_tests_set_is_ignored(name: str) -> None:
    assert config(**{name: "tcp://10.0.0.1\n"}) == config()


def test_white_space_around_a_value_is_removed_with_a_warning() -> None:
    read = config(STEM_NAMESPACE="shop ")
    assert read.namespace == "shop"
    assert read.warnings == ("STEM_NAMESPACE: the white space around its value was removed",)


# ── TLS ──────────────────────────────────────────────────────────────────────


def test_tls_settings_are_read() -> None:
    tls = config(
        STEM_TLS_CA_CERT="/ca",
        STEM_TLS_CLIENT_CERT="/c",
        STEM_TLS_CLIENT_KEY="/k",
        STEM_TLS_ALLOW_INSECURE="true",
    ).tls
    assert tls == TlsConfig(
        ca_certificate_file="/ca",
        client_certificate_file="/c",
        client_key_file="/k",
        allow_insecure=True,
    )
    assert tls.is_enabled
    assert not TlsConfig().is_enabled


@pytest.mark.parametrize(
    "url",
    [
        "redis://h",
        "redis+sentinel://h/m",
        "redis+unix:///run/r.sock",
        "postgresql://h/db?sslmode=disable",
        "postgres://h/db?sslmode=prefer",
    ],
)
@pytest.mark.parametrize("variable", ["STEM_BROKER_URL", "STEM_RESULT_BACKEND_URL"])
def test_tls_settings_for_a_plaintext_url_are_refused(url: str, variable: str) -> None:
    told = refusal(**{variable: url, "STEM_TLS_CA_CERT": "/ca"})
    assert told.startswith(f"{variable} ({StemURL.parse(url)}): STEM_TLS_* is set")
    config(**{variable: url})


@pytest.mark.parametrize(
    "url", ["rediss://h", "postgresql://h/db", "postgresql://h?sslmode=verify-full", "memory://"]
)
def test_tls_settings_pass_where_they_can_be_honoured(url: str) -> None:
    check_tls(StemURL.parse(url), TlsConfig(ca_certificate_file="/ca"))


def test_a_certificate_without_its_key_is_refused() -> None:
    assert "belong together" in refusal(STEM_TLS_CLIENT_CERT="/c")


# ── signing ──────────────────────────────────────────────────────────────────


def test_secret_keys_are_read_by_id() -> None:
    signing = config(
        STEM_SIGNING_KEYS=f"a:{KEY},b:{OTHER_KEY}", STEM_SIGNING_ACTIVE_KEY="b"
    ).signing
    assert signing.keys == {"a": Secret(b"k" * 32), "b": Secret(b"o" * 32)}
    assert signing.is_enabled
    assert signing.signing_key == "b"


def test_the_only_key_signs() -> None:
    assert config(STEM_SIGNING_KEYS=f"a:{KEY}").signing.signing_key == "a"


def test_a_worker_with_public_keys_only_verifies() -> None:
    signing = config(STEM_SIGNING_ALGORITHM="ed25519", STEM_SIGNING_PUBLIC_KEYS=f"a:{KEY}").signing
    assert signing.is_enabled
    assert signing.public_keys == {"a": b"k" * 32}
    assert signing.signing_key is None


def test_keys_can_stand_in_a_file_one_a_line(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"a:{KEY}\nb:{OTHER_KEY}\n")
    read = config(STEM_SIGNING_KEYS_FILE=str(file), STEM_SIGNING_ACTIVE_KEY="a")
    assert list(read.signing.keys) == ["a", "b"]
    assert read.origins["signing.keys"] == "file of environment STEM_SIGNING_KEYS_FILE"


@pytest.mark.parametrize(
    ("env", "complaint"),
    [
        ({"KEYS": "a"}, "entry 1: expected id:base64"),
        ({"KEYS": f"a:{KEY},:{KEY}"}, "entry 2: expected the id of a key"),
        ({"KEYS": f"a:{KEY},a:{OTHER_KEY}"}, "entry 2: its id was there before"),
        ({"KEYS": "a:QUJ="}, "entry 1: the key is not canonical base64"),
        ({"KEYS": "a:QUI"}, "entry 1: the key is not base64"),
        ({"KEYS": "a:QU-_"}, "entry 1: the key is not base64"),
        ({"KEYS": "a:"}, "entry 1: the key is empty"),
        ({"KEYS": f"{KEY}:a"}, "entry 1: expected the id of a key"),
        ({"KEYS": f"a:{KEY},b:{OTHER_KEY}"}, "STEM_SIGNING_ACTIVE_KEY is not set"),
        ({"KEYS": f"a:{KEY}", "ACTIVE_KEY": "hunter2"}, "STEM_SIGNING_ACTIVE_KEY is not in"),
        ({"ACTIVE_KEY": "a"}, "set without a key"),
        ({"ALGORITHM": "ed25519"}, "set without a key"),
        ({"ALGORITHM": "rot13"}, "expected one of hmac-sha256, ed25519"),
        ({"PUBLIC_KEYS": f"a:{KEY}"}, "keys of another one"),
        ({"ALGORITHM": "ed25519", "KEYS": f"a:{KEY}"}, "keys of another one"),
        ({"KEYS": f"a:{KEY}", "KEYS_FILE": "/x"}, "are both set"),
        ({"KEYS_FILE": "/does/not/exist"}, "cannot be read: No such file"),
    ],
)
def test_signing_settings_that_cannot_be_meant_are_refused(
    env: dict[str, str], complaint: str
) -> None:
    told = refusal(**{f"STEM_SIGNING_{name}": text for name, text in env.items()})
    assert complaint in told
    assert told.startswith("STEM_SIGNING_")
    assert not any(secret in told for secret in (KEY, OTHER_KEY, "hunter2", "QUJ", "QU-"))


@pytest.mark.parametrize("content", [b"", b"\n \n", b"\xff\xfe", b"a:%\n"])
def test_a_file_without_usable_keys_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "keys"
    file.write_bytes(content)
    assert refusal(STEM_SIGNING_KEYS_FILE=str(file)).startswith("STEM_SIGNING_KEYS")


def test_a_signer_url_and_signing_keys_exclude_each_other() -> None:
    told = refusal(STEM_SIGNER_URL="none://", STEM_SIGNING_KEYS=f"a:{KEY}")
    assert told.startswith("STEM_SIGNER_URL and STEM_SIGNING_KEYS are both set")


def test_a_typo_in_a_signing_variable_is_only_a_warning() -> None:
    (warning,) = config(STEM_SIGNING_KEY="x").warnings
    assert "Did you mean STEM_SIGNING_KEYS?" in warning


# ── secrets ──────────────────────────────────────────────────────────────────


def test_no_configuration_shows_a_secret() -> None:
    read = config(
        STEM_BROKER_URL="redis://user:hunter2@h?token=hunter2",
        STEM_RESULT_BACKEND_URL="postgresql://user:hunter2@h",
        STEM_SIGNING_KEYS=f"a:{KEY}",
    )
    shown = f"{read!r} {read} {read.signing} {read.origins} {read.warnings}"
    assert "hunter2" not in shown
    assert KEY not in shown
    assert "kkkk" not in shown


@pytest.mark.parametrize(
    "env",
    [
        {"STEM_BROKER_URL": "redis://u:hun@ter2@h"},
        {"STEM_BROKER_URL": "redis://u:hun/ter2@h"},
        {"STEM_BROKER_URL": "redis://u:hunter2@h:x"},
        {"STEM_BROKER_URL": "redis://u:hunter2@h", "STEM_TLS_CA_CERT": "/ca"},
        {"STEM_SIGNING_KEYS": "hunter2"},
        {"STEM_SIGNING_PRIVATE_KEYS": "hunter2:hunter2"},
        {"STEM_SIGNING_ACTIVE_KEY": "hunter2 hunter2"},
        {"STEM_SIGNING_KEYS": "hunter2\nhunter2"},
    ],
)
def test_no_refusal_shows_a_secret(env: dict[str, str]) -> None:
    with pytest.raises(ConfigError) as caught:
        config(**env)
    told = "".join(traceback.format_exception(caught.value))
    assert not any(piece in told for piece in ("hunter2", "ter2"))


@given(st.dictionaries(st.sampled_from(VARIABLES), st.text(max_size=12)))
def test_any_environment_is_a_configuration_or_one_kind_of_error(env: dict[str, str]) -> None:
    try:
        read: Any = StemConfig.from_environment(env)
    except ConfigError:
        return
    assert read.broker_url is not None


# ── the reference page ───────────────────────────────────────────────────────


def test_the_reference_page_is_what_the_class_says() -> None:
    page = ROOT / "docs" / "reference" / "configuration.md"
    assert page.read_text("utf-8") == reference_markdown()


@pytest.mark.parametrize("variable", VARIABLES)
def test_the_reference_has_one_row_for_every_variable(variable: str) -> None:
    rows = [
        line for line in reference_markdown().splitlines() if line.startswith(f"| `{variable}` |")
    ]
    assert len(rows) == 1
    assert rows[0].count(" | ") == 4

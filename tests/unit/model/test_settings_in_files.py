"""Settings that stand in files, as container platforms mount their secrets."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import get_type_hints

import pytest

from stem_core.model.errors import ConfigError, MissingSetting
from stem_core.model.settings import SigningConfig, StemConfig, TlsConfig
from stem_core.model.settings.environment import settings_of

KEY = "a:" + base64.b64encode(b"k" * 32).decode()
URLS = ("STEM_BROKER_URL", "STEM_RESULT_BACKEND_URL", "STEM_SIGNER_URL")


def refusal(**env: str) -> str:
    """Return the complaint about *env*, with a broker beside."""
    with pytest.raises(ConfigError) as caught:
        StemConfig.from_environment({"STEM_BROKER_URL": "memory://"} | env)
    return str(caught.value)


def refused_file(variable: str, path: object) -> str:
    """Return the one complaint about *variable*, which names the file at *path*."""
    env = {f"{variable}_FILE": str(path)}
    if variable != "STEM_BROKER_URL":
        env["STEM_BROKER_URL"] = "memory://"
    with pytest.raises(ConfigError) as caught:
        StemConfig.from_environment(env)
    told = str(caught.value)
    assert told.startswith(f"{variable}_FILE")
    return told


def test_whatever_can_be_secret_can_stand_in_a_file() -> None:
    for cls in (StemConfig, SigningConfig, TlsConfig):
        hints = get_type_hints(cls)
        for field in settings_of(cls):
            hint = str(hints[field.name])
            can_be_secret = "Secret" in hint or "StemURL" in hint
            assert field.metadata["or_file"] or not can_be_secret, field.name


@pytest.mark.parametrize("variable", URLS)
def test_a_url_can_stand_in_a_file_whose_last_line_may_end(tmp_path: Path, variable: str) -> None:
    file, field = tmp_path / "secret", variable.removeprefix("STEM_").lower()
    file.write_text("redis://user:hunter2@host/1\n")
    env = {"STEM_BROKER_URL": "memory://"} if variable != "STEM_BROKER_URL" else {}
    read = StemConfig.from_environment({**env, f"{variable}_FILE": str(file)})
    url = getattr(read, field)
    assert url.reveal() == "redis://user:hunter2@host/1"
    assert read.origins[field] == f"file of environment {variable}_FILE"
    assert read.warnings == ()
    assert "hunter2" not in f"{read!r} {read.origins}"


@pytest.mark.parametrize("variable", URLS)
def test_a_setting_and_its_file_exclude_each_other(tmp_path: Path, variable: str) -> None:
    (tmp_path / "secret").write_text("memory://")
    told = refusal(**{variable: "memory://", f"{variable}_FILE": str(tmp_path / "secret")})
    assert told == f"{variable} and {variable}_FILE are both set\n  Unset one of them."


@pytest.mark.parametrize("variable", [*URLS, "STEM_SIGNING_KEYS"])
@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"", "the file is empty"),
        (b" \n\n", "the file is empty"),
        (b"\xff\xfe", "cannot be read: it is not UTF-8"),
        (b"x" * 70_000, "the file is too long"),
        (b"a\x00b", "control character"),
    ],
)
def test_a_file_that_holds_no_value_is_one_complaint_with_its_path(
    tmp_path: Path, variable: str, content: bytes | None, complaint: str
) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    told = refused_file(variable, file)
    assert told.startswith(f"{variable}_FILE={str(file)!r}")
    assert complaint in told


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    assert "cannot be read: Is a directory" in refused_file("STEM_BROKER_URL", tmp_path)


@pytest.mark.parametrize("variable", URLS)
def test_a_file_with_two_urls_is_refused_and_neither_is_shown(
    tmp_path: Path, variable: str
) -> None:
    file = tmp_path / "secret"
    file.write_text("redis://u:hunter2@h\nredis://u:hunter2@h\n")
    told = refused_file(variable, file)
    assert (
        told == f"{variable}_FILE={str(file)!r}: the file has several lines, or a control character"
    )


def test_a_wrong_url_in_a_file_is_refused_by_the_variable_that_names_the_file(
    tmp_path: Path,
) -> None:
    file = tmp_path / "secret"
    file.write_text("redis://u:hun/ter2@h")
    assert "ter2" not in refused_file("STEM_BROKER_URL", file)


def test_a_wrong_key_in_a_file_is_refused_with_the_path(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("a:hunter2")
    told = refused_file("STEM_SIGNING_KEYS", file)
    assert told.startswith(f"STEM_SIGNING_KEYS_FILE={str(file)!r}: entry 1: ")
    assert told.endswith("\n  Example: a file that holds 2025-06:BASE64")
    assert "hunter2" not in told


@pytest.mark.parametrize(
    ("variable", "secret"),
    [("STEM_BROKER_URL", "redis://u:hunter2@h"), ("STEM_SIGNING_KEYS", "a:hunter2")],
)
def test_a_secret_in_place_of_the_path_of_its_file_is_not_shown(variable: str, secret: str) -> None:
    told = refused_file(variable, secret)
    assert "hunter2" not in told
    assert told.endswith("\n  It takes the path of a file that holds the value.")


def test_what_a_url_of_a_file_contradicts_is_told_by_the_variable_that_is_set(
    tmp_path: Path,
) -> None:
    file = tmp_path / "secret"
    file.write_text("redis://h")
    told = refusal(STEM_RESULT_BACKEND_URL_FILE=str(file), STEM_TLS_CA_CERT="/ca")
    assert told.startswith("STEM_RESULT_BACKEND_URL_FILE (redis://h): STEM_TLS_* is set")
    told = refusal(STEM_SIGNER_URL_FILE=str(file), STEM_SIGNING_KEYS=KEY)
    assert told.startswith("STEM_SIGNER_URL_FILE and STEM_SIGNING_KEYS are both set")


def test_the_file_of_a_missing_broker_is_found_under_the_name_that_it_was_given() -> None:
    with pytest.raises(MissingSetting, match=r"STEM_BROKR_URL_FILE is set\. Did you mean STEM_BR"):
        StemConfig.from_environment({"STEM_BROKR_URL_FILE": "/x"})


def test_a_path_that_cannot_be_one_is_the_only_complaint() -> None:
    with pytest.raises(ConfigError) as caught:
        StemConfig.from_environment({"STEM_BROKER_URL_FILE": "/a\n/b"})
    assert str(caught.value).startswith("STEM_BROKER_URL_FILE has a line break")

"""`stem config show`: what is in effect, where it comes from, and never a secret."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from stem_core.cli import main
from stem_core.model.settings import StemConfig
from stem_core.model.settings.environment import settings_of

SECRETS = {
    "STEM_BROKER_URL": "redis://user:hunter2@host/1?token=geheim",
    "STEM_SIGNING_KEYS": "k1:aHVudGVyMmh1bnRlcjJodW50ZXIyaHVudGVyMg==",
}


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("STEM_")]:
        monkeypatch.delenv(name)


def test_every_setting_is_shown_with_its_value_and_origin(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STEM_NAMESPACE", "shop")
    monkeypatch.setenv("STEM_WORKER_GRACE", "2m")
    assert main(["config", "show", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {field.metadata["env"] for field in settings_of(StemConfig)} < set(told)
    assert told["STEM_NAMESPACE"] == {"value": "shop", "origin": "environment STEM_NAMESPACE"}
    assert told["STEM_WORKER_GRACE"]["value"] == "2m"
    assert told["STEM_DEFAULT_MAX_RETRIES"] == {"value": 3, "origin": "default"}
    assert told["STEM_PLUGINS_AUTOLOAD"]["value"] is True
    assert told["STEM_BROKER_URL"]["value"] is None


def test_the_origin_is_a_column_when_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STEM_ROUTES", "billing.*=billing,b=c")
    main(["config", "show"])
    assert "environment STEM_ROUTES" not in capsys.readouterr().out
    main(["config", "show", "--origin"])
    (line,) = [each for each in capsys.readouterr().out.splitlines() if "STEM_ROUTES" in each[:11]]
    assert line.split(None, 2) == [
        "STEM_ROUTES",
        "billing.*=billing,b=c",
        "environment STEM_ROUTES",
    ]


def shown(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """Return what people are shown, by variable."""
    assert main(["config", "show"]) == 0
    _, *lines = capsys.readouterr().out.splitlines()
    return {name: text for name, text in (line.split(None, 1) for line in lines) if text != "-"}


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("STEM_WORKER_QUEUES", "pay:8,default"),
        ("STEM_ROUTES", "billing.*=billing,b=c"),
        ("STEM_PLUGINS_DISABLE", "stem-a,stem-b"),
        ("STEM_WORKER_GRACE", "1m30s"),
    ],
)
def test_a_value_is_shown_as_its_variable_is_given(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variable: str, text: str
) -> None:
    monkeypatch.setenv(variable, text)
    assert shown(capsys)[variable] == text


def test_what_is_shown_can_be_pasted_back_as_variables(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    examples = {
        field.metadata["env"]: field.metadata["example"] for field in settings_of(StemConfig)
    }
    for name, text in examples.items():
        monkeypatch.setenv(name, text)
    told = shown(capsys)
    pasted = {name: told[name] for name in examples}
    assert StemConfig.from_environment(pasted) == StemConfig.from_environment(examples)


@pytest.mark.parametrize("how", [[], ["--origin"], ["--json"]])
def test_no_secret_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], how: list[str]
) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    assert main(["config", "show", *how]) == 0
    said = "".join(capsys.readouterr())
    assert "***" in said
    for secret in ("hunter2", "geheim", "aHVudGVy"):
        assert secret not in said


@pytest.mark.parametrize("how", [["--origin"], ["--json"]])
def test_a_url_of_a_file_is_shown_with_its_origin_and_without_its_secret(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    how: list[str],
) -> None:
    (tmp_path / "url").write_text("redis://user:hunter2@host/1\n")
    monkeypatch.setenv("STEM_BROKER_URL_FILE", str(tmp_path / "url"))
    assert main(["config", "show", *how]) == 0
    said = capsys.readouterr().out
    assert "redis://user:***@host/1" in said
    assert "file of environment STEM_BROKER_URL_FILE" in said
    assert "hunter2" not in said


def test_all_that_is_wrong_is_told_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STEM_WORKER_GRACE", "5")
    monkeypatch.setenv("STEM_STRICT", "maybe")
    assert main(["config", "show"]) == 4
    out, err = capsys.readouterr()
    assert not out
    assert "STEM_WORKER_GRACE='5'" in err
    assert "STEM_STRICT='maybe'" in err


def test_a_mistyped_variable_is_a_warning_beside_the_answer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STEM_NAMSPACE", "shop")
    assert main(["config", "show", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["STEM_NAMESPACE"]["value"] == "stem"
    assert "Did you mean STEM_NAMESPACE?" in err

"""`stem keys`, and what else the program says of keys."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stem_core.cli import main
from stem_core.producer.client import Stem
from stem_core.worker.burst import burst

BASE64 = re.compile(r"[A-Za-z0-9+/]{43}=")


class Said:
    """What a command answered."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def stem(capsys: pytest.CaptureFixture[str]):
    def run(*arguments: object) -> Said:
        code = main([str(each) for each in arguments])
        return Said(code, *capsys.readouterr())

    return run


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a key file may be; the variables name it, and a store beside it."""
    for name in [name for name in os.environ if name.startswith("STEM_")]:
        monkeypatch.delenv(name)
    path = tmp_path / "keys.toml"
    monkeypatch.setenv("STEM_BROKER_URL", f"sqlite:///{tmp_path}/tasks.db")
    monkeypatch.setenv("STEM_SIGNER_URL", f"ed25519+file://{path}")
    return path


def states(said: Said) -> dict[str, str]:
    return {each["id"]: each["state"] for each in said.json["keys"]}


@pytest.mark.parametrize("algorithm", ["ed25519", "hmac-sha256"])
def test_a_key_file_is_made_private_and_shows_no_key(stem, keys: Path, algorithm: str) -> None:
    said = stem("keys", "generate", keys, "--algorithm", algorithm, "--id", "one")
    assert said.code == 0
    assert keys.stat().st_mode & 0o777 == 0o600
    assert f"STEM_SIGNER_URL={algorithm}+file://{keys}" in said.out
    assert BASE64.search(keys.read_text())
    assert not BASE64.search(said.out + said.err)


def test_a_key_is_called_by_its_day(stem, keys: Path) -> None:
    stem("keys", "generate", keys)
    [first, second] = states(stem("keys", "rotate", "--json"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", first)
    assert second == f"{first}.2"


def test_a_key_file_is_not_made_twice(stem, keys: Path) -> None:
    stem("keys", "generate", keys)
    before = keys.read_bytes()
    said = stem("keys", "generate", keys)
    assert said.code == 4
    assert "is there already" in said.err
    assert keys.read_bytes() == before


def test_keys_rotate_are_staged_and_revoked(stem, keys: Path) -> None:
    stem("keys", "generate", keys, "--id", "one")
    assert states(stem("keys", "rotate", "--id", "two", "--json")) == {
        "one": "verify-only",
        "two": "active",
    }
    assert states(stem("keys", "rotate", "--stage", "--id", "three", "--json"))["two"] == "active"
    assert states(stem("keys", "rotate", "--to", "three", "--json"))["three"] == "active"
    assert states(stem("keys", "revoke", "one", "--json"))["one"] == "revoked"
    assert states(stem("keys", "list", "--json")) == {
        "one": "revoked",
        "two": "verify-only",
        "three": "active",
    }


@pytest.mark.parametrize(
    ("arguments", "code", "why"),
    [
        (["revoke", "one"], 4, "the key one signs: rotate first"),
        (["revoke", "nobody"], 4, "there is no key 'nobody'"),
        (["rotate", "--to", "nobody"], 4, "nobody is not in the list"),
        (["rotate", "--id", "one"], 4, "one is given twice"),
        (["rotate", "--id", "a b"], 2, "--id"),
        (["rotate", "--to", "one", "--stage"], 2, "--to takes a key that is there"),
        (["rotate", "--file", "/nowhere"], 4, "cannot be read"),
        (["check", "--file", "/"], 4, "is a folder"),
        (["rotat"], 2, "rotate"),
    ],
)
def test_what_cannot_be_done_is_refused_and_changes_nothing(
    stem, keys: Path, arguments: list[str], code: int, why: str
) -> None:
    stem("keys", "generate", keys, "--id", "one")
    before = keys.read_bytes()
    said = stem("keys", *arguments)
    assert said.code == code
    assert why in said.err
    assert keys.read_bytes() == before


def test_check_proves_that_keys_can_be_used(stem, keys: Path) -> None:
    stem("keys", "generate", keys)
    said = stem("keys", "check")
    assert said.code == 0
    assert "can sign and verify" in said.out
    keys.write_text("[keys.a]\nprivate = '####'\n")
    said = stem("keys", "check")
    assert said.code == 4
    assert "keys.a: the key is not base64" in said.err


def test_check_warns_of_a_file_that_others_may_read_and_refuses_it_strictly(
    stem, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stem("keys", "generate", keys)
    keys.chmod(0o644)
    said = stem("keys", "check")
    assert said.code == 0
    assert "everybody may open it (mode 644)" in said.err
    monkeypatch.setenv("STEM_STRICT", "1")
    assert stem("keys", "check").code == 4


def test_public_keys_are_handed_on_and_can_only_verify(stem, keys: Path, tmp_path: Path) -> None:
    stem("keys", "generate", keys, "--id", "one")
    handed = tmp_path / "public.toml"
    handed.write_text(stem("keys", "public").out)
    said = stem("keys", "check", "--file", handed, "--json")
    assert said.json["can_sign"] is False
    [private] = stem("keys", "list", "--json").json["keys"]
    [public] = said.json["keys"]
    assert (public["kind"], public["fingerprint"]) == ("public", private["fingerprint"])
    assert stem("keys", "rotate", "--file", handed).code == 4


def test_a_secret_has_no_public_half(stem, keys: Path) -> None:
    stem("keys", "generate", keys, "--algorithm", "hmac-sha256")
    said = stem("keys", "public", "--file", keys)
    assert said.code == 4
    assert "no public keys" in said.err


def test_a_changed_file_keeps_its_owner_and_its_permissions(stem, keys: Path) -> None:
    """Else an operator who rotates as root would lock the service out of its keys."""
    stem("keys", "generate", keys, "--id", "one")
    keys.chmod(0o440)
    if os.geteuid() == 0:
        os.chown(keys, 12345, 54321)
    before = keys.stat()
    assert stem("keys", "rotate").code == 0
    after = keys.stat()
    assert after.st_ino != before.st_ino
    assert (after.st_mode, after.st_uid, after.st_gid) == (
        before.st_mode,
        before.st_uid,
        before.st_gid,
    )


def test_a_link_to_a_key_file_stays_one(stem, keys: Path, tmp_path: Path) -> None:
    stem("keys", "generate", keys, "--id", "one")
    link = tmp_path / "link.toml"
    link.symlink_to(keys)
    assert stem("keys", "rotate", "--file", link).code == 0
    assert link.is_symlink()
    assert len(states(stem("keys", "list", "--json"))) == 2


def test_two_who_rotate_at_once_lose_no_key(stem, keys: Path) -> None:
    stem("keys", "generate", keys, "--id", "zero")
    command = [sys.executable, "-m", "stem_core", "keys", "rotate"]
    running = [subprocess.Popen([*command, "--id", f"k{number}"]) for number in range(4)]
    assert [each.wait(60) for each in running] == [0] * 4
    found = states(stem("keys", "list", "--json"))
    assert sorted(found) == ["k0", "k1", "k2", "k3", "zero"]


def test_keys_in_variables_are_shown_and_cannot_be_changed(
    stem, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STEM_SIGNER_URL")
    assert "neither --file nor" in stem("keys", "list").err
    secret = "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA="
    monkeypatch.setenv("STEM_SIGNING_KEYS", f"one:{secret}")
    said = stem("keys", "list")
    assert "hmac-sha256" in said.out
    assert secret not in said.out
    said = stem("keys", "rotate")
    assert said.code == 4
    assert "no command can change" in said.err


def test_the_keys_of_another_plugin_are_not_guessed_at(
    stem, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEM_SIGNER_URL", "filekms:///keys?key=one")
    said = stem("keys", "list")
    assert said.code == 4
    assert "kept by another plugin" in said.err


# ── status ───────────────────────────────────────────────────────────────────


def rows(said: Said) -> dict[str, tuple[str, int, int]]:
    return {
        each["key_id"]: (each["state"], each["waiting"], each["dead"]) for each in said.json["keys"]
    }


def test_status_shows_which_keys_the_work_still_needs(
    stem, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stem("keys", "generate", keys, "--id", "one")
    stem("enqueue", "a.task", "{}")
    stem("enqueue", "a.task", "{}", "--delay", "1h", "--queue", "later")
    stem("keys", "rotate", "--id", "two")
    stem("enqueue", "a.task", "{}")
    said = stem("keys", "status", "--json")
    assert said.code == 0
    assert rows(said) == {"one": ("verify-only", 2, 0), "two": ("active", 1, 0)}
    stem("keys", "revoke", "one")
    said = stem("keys", "status", "--json")
    assert said.code == 1
    assert rows(said)["one"] == ("revoked-key", 2, 0)
    assert "2 messages would be refused" in stem("keys", "status").out


def test_status_counts_what_strangers_and_nobody_signed(
    stem, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stem("keys", "generate", keys, "--id", "one")
    url = os.environ["STEM_BROKER_URL"]

    async def unsigned() -> None:
        async with Stem(url, signer=None) as producer:
            await producer.enqueue("a.task")

    asyncio.run(unsigned())
    said = stem("keys", "status", "--json")
    assert said.code == 1
    assert rows(said) == {"one": ("active", 0, 0), "": ("unsigned", 1, 0)}

    async def refused() -> None:
        async with Stem(url, signer=os.environ["STEM_SIGNER_URL"]) as worker:
            await burst(worker)

    asyncio.run(refused())
    said = stem("keys", "status", "--json")
    assert said.code == 0
    assert rows(said) == {"one": ("active", 0, 0), "": ("unsigned", 0, 1)}


# ── the rest of the program ──────────────────────────────────────────────────


def test_a_worker_with_a_policy_that_it_cannot_keep_does_not_start(
    stem, keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "signing_cli_app.py").write_text(
        "from stem_core import Stem\nstem = Stem()\n\n@stem.task\nasync def work(): ...\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delenv("STEM_SIGNER_URL")
    said = stem("worker", "signing_cli_app:stem", "--signing-policy", "require")
    assert said.code == 4
    assert "there is no key to verify with" in said.err


@pytest.mark.parametrize(
    ("variables", "why"),
    [
        ({"STEM_SIGNING_KEYS": "v1:####"}, "STEM_SIGNING_KEYS"),
        ({"STEM_SIGNING_ACTIVE_KEY": "v1"}, "STEM_SIGNING_* is set without a key"),
        ({"STEM_SIGNING_KEYS": "v1:c2hvcnQ="}, "has 5 bytes, and at least 32 are needed"),
        ({"STEM_SIGNING_KEYS_FILE": "/"}, "STEM_SIGNING_KEYS_FILE"),
    ],
)
def test_keys_that_are_not_whole_stop_the_start(
    stem, keys: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], why: str
) -> None:
    monkeypatch.delenv("STEM_SIGNER_URL")
    for name, text in variables.items():
        monkeypatch.setenv(name, text)
    said = stem("enqueue", "a.task", "{}")
    assert said.code == 4
    assert why in said.err

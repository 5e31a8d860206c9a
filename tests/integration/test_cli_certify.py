"""`stem certify`: a verdict for people and for programs, and red for a broker that is wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

UNSORTED = """
from stem_core.embedded.memory.broker import InMemoryBroker
from stem_core.model.value import replace
from stem_core.plugin import BrokerSpec, hookimpl

STEM_PLUGIN_API = (1, 0)

@hookimpl
def stem_register_brokers():
    return [BrokerSpec(schemes=("unsorted",), factory="unsorted:Unsorted")]

class Unsorted(InMemoryBroker):
    async def publish(self, messages):
        return await super().publish([replace(each, priority=0) for each in messages])
"""


def certify(
    folder: Path, *arguments: str, before: str = "", **more: str
) -> subprocess.CompletedProcess[str]:
    """Run the program in *folder*; *before* is run in its process first."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("STEM_")}
    command = ["certify", *arguments]
    program = f"{before}\nimport sys; from stem_core.cli import main; sys.exit(main({command!r}))"
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env={**kept, "PYTHONPATH": str(folder), **more},
        capture_output=True,
        text=True,
    )


def test_the_verdict_for_people_counts_promises_by_level(tmp_path: Path) -> None:
    given = ("--level", "priority", "--level", "delay", "--jobs", "3")
    run = certify(tmp_path, "memory://", *given)
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    assert lines[0] == "memory://"
    assert [line.split(maxsplit=1)[0] for line in lines[1:3]] == ["priority", "delay"]
    assert lines[1].endswith("1 promise kept")
    assert lines[-1] == "certified: priority, delay"
    assert "\x1b" not in run.stdout + run.stderr
    assert "done" in run.stderr


def test_the_verdict_for_programs_is_one_object(tmp_path: Path) -> None:
    url = "sqlite:///tasks.db?durability=normal"
    run = certify(tmp_path, url, "--level", "priority", "--seed", "7", "--json")
    assert run.returncode == 0, run.stderr
    verdict = json.loads(run.stdout)
    assert (verdict["url"], verdict["certified"], verdict["seed"]) == (url, True, 7)
    assert verdict["versions"]["stem-core"]
    (level,) = verdict["levels"]
    assert (level["level"], level["verdict"]) == ("priority", "kept")
    (promise,) = level["promises"]
    assert promise["id"] == "FETCH-2"
    assert promise["sentence"].startswith("Order: queues as given")
    assert (promise["verdict"], promise["trials"]) == ("kept", 2)
    assert (verdict["kind"], verdict["not_run"], level["declaration"]) == ("broker", [], None)


def test_a_broken_claim_is_red_and_names_the_promise(tmp_path: Path) -> None:
    (tmp_path / "unsorted.py").write_text(UNSORTED)
    given = ("unsorted://", "--level", "priority")
    with ThreadPoolExecutor() as pool:  # at once: most of it is waiting
        prove = partial(certify, tmp_path, *given, STEM_PLUGINS="unsorted")
        run, as_json = (
            each.result() for each in [pool.submit(prove), pool.submit(prove, "--json")]
        )
    assert run.returncode == 1, run.stderr
    assert "broken  FETCH-2  Order: queues as given" in run.stdout
    assert "test_priority_order_holds_under_load" in run.stdout
    assert run.stdout.splitlines()[-1] == "not certified"
    report = json.loads(as_json.stdout)
    assert report["certified"] is False
    assert report["levels"][0]["promises"][0]["verdict"] == "broken"


def test_a_level_that_was_asked_for_and_is_not_claimed_is_not_certified(tmp_path: Path) -> None:
    run = certify(tmp_path, "memory://", "--level", "transactional", "--level", "chaos")
    assert run.returncode == 1
    assert "transactional  not claimed" in run.stdout
    assert "chaos          not claimed" in run.stdout
    assert "SETTLE-8      multiprocess" in run.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        ((), 2, "Missing argument URL"),
        (("memory://", "--level", "all"), 2, "--level"),
        (("pigeon://x",), 4, "no broker plugin for URL scheme 'pigeon'"),
        (("memory://", "--backend", "none://"), 4, "opens to no result backend"),
        (("sqlite:////nowhere/x.db",), 5, "there is no folder /nowhere"),
        (("memory://", "--verifier", "none://"), 2, "memory:// is no signer"),
        (("hmac-sha256+env://", "--backend", "memory://"), 2, "is a signer, and --backend"),
        (("none://",), 4, "none:// opens to no signer"),
        (("hmac-sha256+env://",), 4, "STEM_SIGNING_KEYS"),
    ],
)
def test_what_cannot_be_certified_ends_with_its_own_code(
    tmp_path: Path, arguments: tuple[str, ...], code: int, told: str
) -> None:
    run = certify(tmp_path, *arguments)
    assert run.returncode == code
    assert told in run.stderr
    assert "Traceback" not in run.stderr


def test_the_url_can_stand_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("pigeon://x\n")
    run = certify(tmp_path, STEM_BROKER_URL_FILE="url")
    assert run.returncode == 4
    assert "no broker plugin for URL scheme 'pigeon'" in run.stderr


def test_without_pytest_it_says_what_to_install(tmp_path: Path) -> None:
    run = certify(tmp_path, "memory://", before="import sys; sys.modules['pytest'] = None")
    assert run.returncode == 4
    assert 'pip install "stem-core[testing]"' in run.stderr
    assert "Traceback" not in run.stderr


def test_the_settings_of_the_folder_do_not_touch_the_verdict(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --nonsense\n")
    (tmp_path / "conftest.py").write_text("raise SystemExit('not mine')")
    run = certify(tmp_path, "memory://", "--level", "priority", PYTEST_ADDOPTS="--nonsense")
    assert run.returncode == 0, run.stderr


def test_a_broker_that_takes_the_process_down_is_no_verdict(tmp_path: Path) -> None:
    fatal = UNSORTED.replace(
        "return await", "if len(messages) > 9: os._exit(0)\n        return await"
    )
    (tmp_path / "unsorted.py").write_text(f"import os\n{fatal}")
    run = certify(tmp_path, "unsorted://", "--level", "priority", STEM_PLUGINS="unsorted")
    assert run.returncode == 1
    assert "certified" not in run.stdout
    assert "the conformance kit ended after" in run.stderr


# ── signers ──────────────────────────────────────────────────────────────────


def ring(folder: Path, name: str, kind: str, data: bytes) -> str:
    """Write a key file with one key; return the URL of its signer."""
    file = folder / f"{name}.toml"
    file.write_text(f'[keys.one]\n{kind} = "{b64encode(data).decode()}"\n')
    file.chmod(0o600)
    return f"ed25519+file://{file}"


def test_a_signer_is_proven_with_one_that_can_only_verify(tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    signer = ring(tmp_path, "private", "private", key.private_bytes_raw())
    verifier = ring(tmp_path, "public", "public", key.public_key().public_bytes_raw())
    run = certify(tmp_path, signer, "--verifier", verifier)
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    assert lines[:2] == [signer, "  core           4 promises kept"]
    assert lines[-1] == "certified: core"


def test_without_a_verifier_the_verdict_names_what_was_not_run(tmp_path: Path) -> None:
    signer = ring(tmp_path, "private", "private", Ed25519PrivateKey.generate().private_bytes_raw())
    run = certify(tmp_path, signer)
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[1].endswith("3 promises kept, 1 not run")
    assert run.stdout.splitlines()[-1] == "certified: core (except: SIGN-2 not run)"

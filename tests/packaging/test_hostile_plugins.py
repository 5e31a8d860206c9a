"""Plugins that do harm, put by a real installer beside plugins that are good."""

from __future__ import annotations

import json
import subprocess

import pytest
from services.environments import Environment, write_wheel

HEAD = "from stem_core.plugin import BrokerSpec, hookimpl\nSTEM_PLUGIN_API = (1, 0)\n"
OFFERS = HEAD + (
    "@hookimpl\n"
    "def stem_register_brokers():\n"
    "    return [BrokerSpec(schemes=('{scheme}',), factory='stem_{scheme}:Broker')]\n"
    "class Broker:\n"
    "    @classmethod\n"
    "    async def open(cls, url, options, context): ...\n"
)

# By scheme: what its module does, and what the check says of it.
HOSTILE = {
    "raises": (
        "import no_such_driver",
        "No module named 'no_such_driver' [.../site-packages/stem_raises.py:1]",
    ),
    "hangs": ("import time\ntime.sleep(3600)", "(stem_hangs) was not imported within 3 s"),
    "exits": ("import sys\nsys.exit(0)", "SystemExit: 0 [.../site-packages/stem_exits.py:2]"),
    "dies": ("import os\nos._exit(3)", "ended the process that imported it (exit code 3)"),
    "crashes": (
        "import os, resource, signal\n"
        "resource.setrlimit(resource.RLIMIT_CORE, (1, 1))\n"  # a core takes its time to be written
        "os.kill(os.getpid(), signal.SIGSEGV)",
        "ended the process that imported it (SIGSEGV)",
    ),
    "interrupts": ("raise KeyboardInterrupt", "ended the process that imported it"),
    "newer": (HEAD.replace("1, 0", "1, 99"), "declares plugin API 1.99"),
    "foreign": (HEAD.replace("1, 0", "9, 0"), "declares plugin API 9.0"),
    "misspelled": (
        OFFERS.replace("stem_register_brokers", "stem_register_broker"),
        "unknown hook 'stem_register_broker' (did you mean 'stem_register_brokers'?)",
    ),
    "pretends": (OFFERS.replace("{scheme}'", "redis'", 1), "offers redis"),
}
# Not broken, only rude.
TALKS = "import os\nprint('buy my plugin')\nos.write(1, b'buy it now\\n')\n" + OFFERS
WORKS = """
import asyncio
from stem_core import Stem, Worker

stem = Stem(broker="memory://here")

@stem.task
async def double(n: int) -> int:
    return 2 * n

async def main() -> None:
    async with Worker(stem):
        print(await (await double.enqueue(21)).result(timeout=10))

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment with all of them."""
    wheels = tmp_path_factory.mktemp("wheels")
    environment = Environment(tmp_path_factory.mktemp("zoo"))
    modules = {scheme: code for scheme, (code, _) in HOSTILE.items()} | {"talks": TALKS}
    written = [
        write_wheel(
            wheels,
            f"stem-{scheme}",
            code.replace("{scheme}", scheme),
            {"stem.brokers": {scheme: f"stem_{scheme}"}},
        )
        for scheme, code in modules.items()
    ]
    takes_sqlite = {"stem.brokers": {"sqlite": "stem_taker"}}
    written.append(write_wheel(wheels, "stem-taker", "raise RuntimeError", takes_sqlite))
    always = {"stem.plugins": {"always": "stem_always"}, "stem.commands": {"boom": "stem_always:x"}}
    written.append(write_wheel(wheels, "stem-always", "raise RuntimeError('always')", always))
    environment.install(*written)
    return environment


@pytest.fixture(scope="module")
def checked(zoo: Environment) -> subprocess.CompletedProcess[str]:
    """What `stem plugins --check` said of them, once for all tests."""
    return zoo.stem("plugins", "--check", "--json", "--timeout", "3s")


def rows(run: subprocess.CompletedProcess[str]) -> dict[tuple[str, str, str], dict[str, str]]:
    """Return the rows by kind, scheme and distribution."""
    found = json.loads(run.stdout)
    return {(row["kind"], row["scheme"], row["distribution"]): row for row in found}


def test_the_list_imports_none_of_them(zoo: Environment) -> None:
    listed = rows(zoo.stem("plugins", "--json"))
    assert {listed["broker", name, f"stem-{name}"]["state"] for name in HOSTILE} == {"not loaded"}


@pytest.mark.parametrize("scheme", HOSTILE)
def test_the_check_says_of_each_what_is_wrong(
    checked: subprocess.CompletedProcess[str], scheme: str
) -> None:
    row = rows(checked)["broker", scheme, f"stem-{scheme}"]
    assert (row["state"], checked.returncode) == ("error", 4)
    assert HOSTILE[scheme][1] in row["detail"]
    assert f"stem-{scheme} 1.0" in row["detail"]


def test_the_check_goes_on_to_those_that_are_well(
    checked: subprocess.CompletedProcess[str],
) -> None:
    by_name = rows(checked)
    for kind, scheme in (("broker", "memory"), ("backend", "sqlite"), ("signer", "none")):
        assert by_name[kind, scheme, "stem-core"]["state"] == "ok"
    assert "Traceback" not in checked.stderr


def test_what_a_plugin_prints_is_not_in_the_answer(
    checked: subprocess.CompletedProcess[str],
) -> None:
    assert "buy" not in checked.stdout.replace("prints while it is imported", "")
    assert "buy it now" in checked.stderr
    assert rows(checked)["broker", "talks", "stem-talks"]["detail"] == "prints while it is imported"


def test_a_scheme_that_was_taken_is_nobodys_until_somebody_chooses(zoo: Environment) -> None:
    refused = zoo.stem("plugins", "show", "sqlite")
    assert refused.returncode == 4
    for word in ("stem-core", "stem-taker 1.0", "STEM_PLUGINS_PREFER=sqlite="):
        assert word in refused.stderr
    chosen = zoo.stem("plugins", "show", "sqlite", STEM_PLUGINS_PREFER="sqlite=stem-core")
    assert chosen.returncode == 0
    assert "stem_core.embedded.sqlite" in chosen.stdout


@pytest.mark.parametrize("scheme", ["raises", "exits", "newer", "foreign", "misspelled"])
def test_who_asks_for_a_broken_one_gets_one_clear_error(zoo: Environment, scheme: str) -> None:
    run = zoo.stem("plugins", "show", scheme)
    assert (run.returncode, run.stdout) == (4, "")
    assert HOSTILE[scheme][1] in run.stderr
    remedy = f"fix or uninstall it, or set STEM_PLUGINS_DISABLE=stem-{scheme}"
    assert run.stderr.endswith(
        "\n  Upgrade stem-core.\n" if "plugin API" in run.stderr else f"\n  {remedy}\n"
    )
    assert "Traceback" not in run.stderr


def test_a_task_runs_beside_all_of_them(zoo: Environment) -> None:
    run = zoo.run("-c", WORKS)
    assert run.returncode == 0, run.stderr
    assert run.stdout == "42\n"
    assert "plugin stem-always 1.0 (stem_always) failed to load: RuntimeError" in run.stderr


def test_the_program_helps_beside_all_of_them(zoo: Environment) -> None:
    run = zoo.stem("--help")
    assert run.returncode == 0
    assert "boom" in run.stdout
    called = zoo.stem("boom")
    assert called.returncode == 4
    assert "stem-always 1.0" in called.stderr

"""Plugins written for one plugin API, in a Stem that provides another one.

The plugins in `tests/golden/plugins` are frozen: what a stranger wrote when that version was
current, with everything that a broker, a backend and a signer need. No later change of Stem may
change them. The other versions of Stem are this one with another number.
"""

from __future__ import annotations

import importlib.metadata as metadata
import importlib.util
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
from services.environments import Folder, write_files

from stem_core.plugin import PLUGIN_API

FROZEN = Path(__file__).parents[1] / "golden" / "plugins"
KINDS = ("broker", "backend", "signer")
MAJOR, MINOR = PLUGIN_API
NEXT_MINOR, NEXT_MAJOR = (MAJOR, MINOR + 1), (MAJOR + 1, 0)
VERSIONS = [tuple(map(int, path.name.split("."))) for path in sorted(FROZEN.iterdir())]
OF_THIS_MAJOR = [version for version in VERSIONS if version[0] == MAJOR]

# A producer and a worker on all three, in the folder of the environment.
SHOP = """
import asyncio, logging, pathlib
from stem_core import Stem, Worker

folder = pathlib.Path.cwd()
(folder / "keys").mkdir(exist_ok=True)
(folder / "keys" / "one.key").write_bytes(bytes(range(32)))
stem = Stem(
    broker=f"frozen-broker://{folder}/messages",
    backend=f"frozen-backend://{folder}/results",
    signer=f"frozen-signer://{folder}/keys?key=one",
)

@stem.task(max_retries=1)
async def double(n: int) -> int:
    return 2 * n

@stem.task
async def fail() -> None:
    raise ValueError("on purpose")

async def main() -> None:
    async with Worker(stem, signing_policy="require"):
        print(await (await double.enqueue(21)).result(timeout=20))
        print(await (await double.using(delay=0.1, priority=9).enqueue(4)).result(timeout=20))
        job = await fail.using(max_retries=0).enqueue()
        print(type(await asyncio.wait_for(gone(job), 20)).__name__)

async def gone(job):
    try:
        return await job.result(timeout=20)
    except Exception as error:
        return error

asyncio.run(main())
"""


def written(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))


def frozen_wheels(folder: Path, frozen: tuple[int, int], declares: tuple[int, int]) -> list[Path]:
    """Return wheels of the plugins that were frozen at one version, and declare another one."""
    return [_frozen_wheel(folder, frozen, declares, kind) for kind in KINDS]


def _frozen_wheel(
    folder: Path, frozen: tuple[int, int], declares: tuple[int, int], kind: str
) -> Path:
    package = FROZEN / written(frozen) / f"stem_frozen_{kind}"
    contents = {
        f"{package.name}/{path.relative_to(package)}": path.read_text("utf-8")
        for path in package.rglob("*.py")
    }
    module = f"{package.name}/plugin.py"
    said = f"STEM_PLUGIN_API = {frozen}"
    assert contents[module].count(said) == 1
    contents[module] = contents[module].replace(said, f"STEM_PLUGIN_API = {declares}")
    points = {f"stem.{kind}s": {f"frozen-{kind}": f"{package.name}.plugin"}}
    return write_files(folder, f"stem-frozen-{kind}", contents, points)


def provide(environment: Folder, version: tuple[int, int]) -> None:
    """Put a stem-core into *environment* that provides *version* of the plugin API.

    Its own plugins, which are part of it, declare that version as well.
    """
    spec = importlib.util.find_spec("stem_core")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    site = environment.folder
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(spec.submodule_search_locations[0], site / "stem_core", ignore=ignored)
    changed = 0
    for path in (site / "stem_core").rglob("*.py"):
        text = path.read_text("utf-8")
        other = text.replace(f"PLUGIN_API = {PLUGIN_API}", f"PLUGIN_API = {version}")
        other = other.replace(f"PLUGIN_API: Final = {PLUGIN_API}", f"PLUGIN_API: Final = {version}")
        path.write_text(other, "utf-8")
        changed += text != other
    assert changed == 4  # the contracts, and the plugins of memory, sqlite and none
    core = metadata.distribution("stem-core")
    info = site / f"stem_core-{core.version}.dist-info"
    info.mkdir()
    for name in ("METADATA", "entry_points.txt"):
        (info / name).write_text(core.read_text(name) or "", "utf-8")


class Fit:
    """Plugins of one version in a Stem of another one."""

    def __init__(self, folder: Path, frozen: tuple[int, int]) -> None:
        self.folder, self.frozen = folder, frozen

    def __call__(
        self, *, declares: tuple[int, int] | None = None, core: tuple[int, int] = PLUGIN_API
    ) -> Folder:
        environment = Folder(self.folder / "site")
        environment.install(*frozen_wheels(self.folder, self.frozen, declares or self.frozen))
        if core != PLUGIN_API:
            provide(environment, core)
        return environment


@pytest.fixture(params=OF_THIS_MAJOR, ids=written)
def fit(request: pytest.FixtureRequest, tmp_path: Path) -> Fit:
    """An environment with each frozen plugin of this major version."""
    return Fit(tmp_path, request.param)


def checked(environment: Folder) -> tuple[int, Mapping[str, Mapping[str, str]]]:
    """Return the exit code of the check, and its rows for the frozen plugins by kind."""
    run = environment.stem("plugins", "--check", "--json")
    rows = json.loads(run.stdout)
    ours = {row["kind"]: row for row in rows if row["distribution"].startswith("stem-frozen-")}
    others = {row["state"] for row in rows if row["distribution"] == "stem-core"}
    assert others == {"ok"}  # whatever is wrong with a plugin is its own affair
    return run.returncode, ours


def test_there_is_a_frozen_plugin_for_every_released_minor_of_this_major() -> None:
    assert [(MAJOR, minor) for minor in range(MINOR + 1)] == OF_THIS_MAJOR


@pytest.mark.parametrize("core", [PLUGIN_API, NEXT_MINOR], ids=written)
def test_a_plugin_works_in_its_own_minor_and_in_every_later_one(
    fit: Fit, core: tuple[int, int]
) -> None:
    environment = fit(core=core)
    assert f"(plugin API {written(core)})" in environment.stem("version").stdout
    code, rows = checked(environment)
    assert code == 0
    assert {kind: row["state"] for kind, row in rows.items()} == dict.fromkeys(KINDS, "ok")
    run = environment.run("-c", SHOP)
    assert (run.returncode, run.stdout.split()) == (0, ["42", "8", "TaskFailed"]), run.stderr


@pytest.mark.parametrize(
    ("declares", "core", "upgrade"),
    [
        (NEXT_MINOR, PLUGIN_API, "stem-core"),
        (NEXT_MAJOR, PLUGIN_API, "stem-core"),
        (PLUGIN_API, NEXT_MAJOR, "stem-frozen-{kind}"),
    ],
    ids=["newer-minor", "newer-major", "older-major"],
)
def test_a_plugin_that_does_not_fit_is_refused_with_the_name_of_what_to_upgrade(
    fit: Fit, declares: tuple[int, int], core: tuple[int, int], upgrade: str
) -> None:
    environment = fit(declares=declares, core=core)
    code, rows = checked(environment)
    assert code == 4
    says = f"declares plugin API {written(declares)}; this stem-core provides {written(core)}"
    for kind in KINDS:
        assert rows[kind]["state"] == "error"
        assert says in rows[kind]["detail"]
    run = environment.run("-c", SHOP)
    assert run.returncode != 0
    assert f"PluginApiMismatch: stem-frozen-signer 1.0 {says}" in run.stderr
    assert f"Upgrade {upgrade.format(kind='signer')}." in run.stderr

"""The one front door: every check of the project is a session here.

It needs Python >= 3.11 with venv and a package index, nothing else::

    python3 -m venv .venv && .venv/bin/pip install nox && .venv/bin/nox -s tests

uv is used where it is found, else virtualenv. What users install is what is
tested: `build` makes the wheels, the other sessions install those wheels, and
only `types` reads the sources.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from itertools import chain
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = ["tests", "lint", "types"]

ROOT = Path(__file__).parent
WHEELS = ROOT / ".nox" / "wheels"
BEFORE = ROOT / ".nox" / "previous"
PREVIOUS = os.environ.get("STEM_TEST_PREVIOUS_COMMIT") or "ac2514445ca47004e8f3d84f20845ea5ed127ec0"
"""The release before this one, as git knows it. Before the first release: the first commit
with today's layout of the tables in PostgreSQL."""
REBUILT = ROOT / ".nox" / "rebuilt"
SITE = ROOT / ".nox" / "site"
DISTRIBUTIONS = ("stem-core", "stem-redis", "stem-postgres", "stem-signing")
SOURCES = tuple(f"{name}/src" for name in DISTRIBUTIONS)
SUITES = (
    "tests/unit", "tests/conformance", "tests/leaky", "tests/integration", "tests/chaos",
    "tests/promises", "tests/packaging", "tests/docs",
)  # fmt: skip
EVERYWHERE = ("tests/unit", "tests/conformance")
OLDEST_MINOR, NEWEST_MINOR = 11, 15
RUNNING = f"3.{sys.version_info.minor}"
PYPROJECT = nox.project.load_toml(ROOT / "pyproject.toml")


# ── which interpreters are here ──────────────────────────────────────────────


def let_pyenv_answer() -> None:
    """Make every new enough interpreter that pyenv holds answer to its name.

    Its shims say "command not found" for each version that is not selected. What was
    selected stays so, after the others: uv itself may live there.
    """
    if "PYENV_VERSION" in os.environ or not shutil.which("pyenv"):
        return
    held = _words("pyenv", "versions", "--bare")
    minors = [f"3.{minor}." for minor in range(OLDEST_MINOR, NEWEST_MINOR + 1)]
    new_enough = [name for name in held if name.startswith(tuple(minors))]
    selected = [name for name in _words("pyenv", "version-name", sep=":") if name not in new_enough]
    if new_enough:
        os.environ["PYENV_VERSION"] = ":".join([*new_enough, *selected])


def _words(*command: str, sep: str | None = None) -> list[str]:
    return subprocess.run(command, capture_output=True, text=True).stdout.strip().split(sep)


def answers(version: str) -> bool:
    """Say whether `pythonX.Y` is on the PATH and really is that version."""
    name = f"python{version}"
    if not shutil.which(name):
        return False
    program = "import sys; print('%d.%d' % sys.version_info[:2])"
    return _words(name, "-c", program) == [version]


def interpreters() -> tuple[list[str], list[str]]:
    """Return the versions to test on, the running one first, and those that are not here."""
    known = [f"3.{minor}" for minor in range(OLDEST_MINOR, NEWEST_MINOR + 1)]
    others = [version for version in known if version != RUNNING]
    found = [version for version in others if answers(version)]
    return [RUNNING, *found], [version for version in others if version not in found]


if sys.version_info < (3, OLDEST_MINOR):
    sys.exit(f"nox runs on {sys.version.split()[0]}; Stem needs Python >= 3.{OLDEST_MINOR}")
os.environ.setdefault("UV_PYTHON_DOWNLOADS", "never")
let_pyenv_answer()
HERE, LEFT_OUT = interpreters()
OLDEST = min(HERE, key=lambda version: int(version.partition(".")[2]))
NEWEST = max(HERE[1:], key=lambda version: int(version.partition(".")[2]), default=RUNNING)
"""Of those that do not run nox."""


# ── what the sessions share ──────────────────────────────────────────────────


def group(name: str) -> tuple[str, ...]:
    """Return the requirements of one dependency group of the root pyproject.toml."""
    return nox.project.dependency_groups(PYPROJECT, name)


def floors() -> list[str]:
    """Return one line ``name==oldest`` for each release that a distribution says it accepts."""
    found: set[str] = set()
    for distribution in DISTRIBUTIONS:
        project = nox.project.load_toml(ROOT / distribution / "pyproject.toml")["project"]
        extras = project.get("optional-dependencies", {}).values()
        for requirement in chain(project["dependencies"], *extras):
            name, oldest = re.split(r"(?:\[.*\])?>=", requirement.partition(",")[0])
            found |= set() if name in DISTRIBUTIONS else {f"{name}=={oldest}"}
    return sorted(found)


def wheel(distribution: str) -> str:
    """Return the wheel that `build` made of *distribution*."""
    (path,) = WHEELS.glob(f"{distribution.replace('-', '_')}-*.whl")
    return str(path)


def install_wheels(session: nox.Session, *distributions: str, extras: str = "") -> None:
    """Install *distributions* from their wheels, whatever the environment held before.

    A reused environment with the same version number would keep the old code: pip calls
    that "already satisfied". So the wheels go in once more, by force.
    """
    wheels = [wheel(distribution) for distribution in distributions]
    session.install(*(path + extras if "stem_core-" in path else path for path in wheels))
    session.install("--force-reinstall", "--no-deps", *wheels)


def clean_environment() -> dict[str, str | None]:
    """Return what to unset: the Stem settings of the shell, but not what tests are told by it."""
    settings = [name for name in os.environ if name.startswith("STEM_")]
    return {name: None for name in settings if not name.startswith(("STEM_TEST_", "STEM_CHAOS_"))}


def pytest(session: nox.Session, *suites: str, **told: str) -> None:
    """Run *suites* against the installed wheels; paths given after `--` take their place.

    The tests find *told* in their environment.
    """
    chosen = any((ROOT / word.split("::")[0]).exists() for word in session.posargs)
    arguments = [*(() if chosen else suites), *session.posargs]
    # Not `python -m pytest`: that puts the working directory on sys.path, before the wheels.
    session.run("pytest", *arguments, env=clean_environment() | told)


# ── sessions ─────────────────────────────────────────────────────────────────


@nox.session(reuse_venv=True)
def build(session: nox.Session) -> None:
    """Make the wheels of all distributions, for the sessions that install them."""
    session.install("build", "hatchling>=1.26")
    shutil.rmtree(WHEELS, ignore_errors=True)
    for distribution in DISTRIBUTIONS:
        flags = ("--wheel", "--no-isolation", "--outdir", str(WHEELS))
        session.run("python", "-m", "build", *flags, distribution, silent=True)


@nox.session(requires=["build"])
def demo(session: nox.Session) -> None:
    """Install the stem-core wheel into a clean environment and run `stem demo [FOLDER]` there."""
    install_wheels(session, "stem-core")
    session.run("stem", "demo", *session.posargs, env=clean_environment())


@nox.session(python=HERE, requires=["build"])
def tests(session: nox.Session) -> None:
    """Test the installed wheels of all distributions, on every interpreter that is here.

    The one that runs nox does everything. The others do what tells of an interpreter, the
    newest of them with the kit, and with STEM_TEST_EVERYWHERE=1 all do everything but the
    chaos: that is for before a release.
    With arguments after `--` there is no chaos, but for suites that they name.
    """
    session.log(f"interpreters found: {', '.join(HERE)}; left out: {', '.join(LEFT_OUT) or 'none'}")
    install_wheels(session, *DISTRIBUTIONS, extras="[testing]")
    session.install(*group("test"))
    if session.python == RUNNING and not session.posargs:
        pytest(session, "tests/chaos")  # alone: it measures how long a recovery takes
    whole = session.python == RUNNING or os.environ.get("STEM_TEST_EVERYWHERE") == "1"
    of_an_interpreter = EVERYWHERE if session.python == NEWEST else EVERYWHERE[:1]
    suites = [suite for suite in SUITES if suite != "tests/chaos"] if whole else of_an_interpreter
    pytest(session, *suites, "--numprocesses=auto")


@nox.session(python=OLDEST, requires=["build"])
def oldest(session: nox.Session) -> None:
    """Test with the oldest release of every dependency that the metadata accept."""
    constraints = Path(session.create_tmp()) / "floors.txt"
    constraints.write_text("\n".join(floors()), "utf-8")
    session.install("--constraint", str(constraints), *map(wheel, DISTRIBUTIONS), *group("test"))
    pytest(session, *SUITES)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, format, the import contracts, and what makes a release."""
    session.install(*group("lint"), *group("release"))
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    # No cache: it keeps what an import meant before the module behind it existed.
    session.run("lint-imports", "--no-cache", env={"PYTHONPATH": os.pathsep.join(SOURCES)})
    session.run("python", "tools/version.py")
    session.run("python", "tools/changelog.py", "--draft", silent=True)
    workflows = map(str, sorted((ROOT / ".github" / "workflows").glob("*.yml")))
    session.run("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *workflows)
    session.run("zizmor", "--offline", "--quiet", "--min-severity", "medium", ".github/workflows")


@nox.session(requires=["build"])
def types(session: nox.Session) -> None:
    """Check the types of all sources under mypy and pyright, and what both say of wrong calls."""
    # The wheels bring the dependencies; both checkers are told to read the sources.
    install_wheels(session, *DISTRIBUTIONS, extras="[testing]")
    session.install(*group("test"), *group("types"))
    # Node and pyright come in wheels: nothing is fetched from outside the package index.
    quiet = {"PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
    session.run("mypy")
    session.run("pyright", env=quiet)
    session.run("python", "tests/typing/check_typing.py", env=quiet)


@nox.session(python=HERE, requires=["build"])
@nox.parametrize("distribution", DISTRIBUTIONS, ids=DISTRIBUTIONS)
def packaging(session: nox.Session, distribution: str) -> None:
    """Install each wheel alone, see it work, and build the same wheel again through its sdist.

    What an index would show of it is checked too. The second half is done by the interpreter
    that runs nox.
    """
    made = wheel(distribution)
    session.install("--find-links", str(WHEELS), made)
    session.run("python", "tests/packaging/alone.py", distribution, env=clean_environment())
    if session.python != RUNNING:
        return
    session.install(*group("release"))
    rebuilt = REBUILT / distribution
    shutil.rmtree(rebuilt, ignore_errors=True)
    session.run("python", "-m", "build", "--outdir", str(rebuilt), distribution, silent=True)
    session.run("python", "tests/packaging/artifacts.py", distribution, made, str(rebuilt))
    session.run("twine", "check", "--strict", *map(str, rebuilt.iterdir()))


@nox.session(requires=["build"])
def plugins(session: nox.Session) -> None:
    """Generate a plugin of each kind, build it, and certify its wheel beside that of stem-core."""
    install_wheels(session, "stem-core", extras="[testing]")
    session.install("build", "hatchling>=1.26", "pytest-xdist>=3.6")
    place = Path(session.create_tmp()) / "plugins"
    shutil.rmtree(place, ignore_errors=True)
    for kind in ("broker", "backend", "signer"):
        made = place / f"stem-made-{kind}"
        into = ("--kind", kind, "--into", str(place))
        session.run("stem", "plugins", "new", f"made-{kind}", *into, silent=True)
        session.run("python", "-m", "build", "--wheel", "--no-isolation", str(made), silent=True)
        (path,) = (made / "dist").glob("*.whl")
        session.install("--find-links", str(WHEELS), str(path))
    session.run("stem", "plugins", "--check", env=clean_environment())
    for made in sorted(place.iterdir()):
        with session.chdir(made):
            session.run("pytest", "-q", "--numprocesses=auto", env=clean_environment())


@nox.session(venv_backend="none")
def version(session: nox.Session) -> None:
    """Show the version of all distributions; `-- 0.2.0` sets it, with the ranges between them."""
    session.run(sys.executable, "tools/version.py", *session.posargs)


@nox.session
def changelog(session: nox.Session) -> None:
    """Write the next section of CHANGELOG.md from changelog.d; `-- --draft`, `-- --release`."""
    session.install(*group("release"))
    session.run("python", "tools/changelog.py", *session.posargs)


@nox.session(requires=["build"])
def mixed(session: nox.Session) -> None:
    """Run workers and producers of the previous release and of this one on one store.

    `-- freeze NAME` writes what the previous release leaves behind to tests/golden/stores/NAME
    instead, where it is never changed again.
    """
    install_wheels(session, *DISTRIBUTIONS, extras="[testing]")
    session.install(*group("test"), "build", "hatchling>=1.26", "virtualenv")
    drivers = [need for need in group("test") if need.startswith("psycopg")]
    told = clean_environment() | {"PYTHONPATH": str(ROOT / "tests")}
    session.run("python", "-m", "mixed.previous", PREVIOUS, str(BEFORE), *drivers, env=told)
    python = str(BEFORE / "venv" / "bin" / "python")
    if session.posargs[:1] == ["freeze"]:
        into = ROOT / "tests" / "golden" / "stores" / session.posargs[1]
        session.run("python", "-m", "mixed.freeze", python, str(into), env=told)
        return
    before = {"STEM_TEST_PREVIOUS": python, "STEM_TEST_PREVIOUS_WHEELS": str(BEFORE / "wheels")}
    pytest(session, "tests/mixed/both_releases.py", STEM_TEST_WHEELS=str(WHEELS), **before)


@nox.session(requires=["build"])
def pooler(session: nox.Session) -> None:
    """Hold the PostgreSQL store to its promises behind a real PgBouncer, which must be installed.

    It is the one on the PATH, or the file that STEM_TEST_PGBOUNCER names.
    """
    install_wheels(session, *DISTRIBUTIONS, extras="[testing]")
    session.install(*group("test"))
    pytest(session, "tests/pooler/through_pgbouncer.py")


@nox.session(requires=["build"])
def examples(session: nox.Session) -> None:
    """Build every distribution in examples/ and test its wheel beside that of stem-core."""
    session.install("build", "hatchling>=1.26")
    made = Path(session.create_tmp()) / "examples"
    shutil.rmtree(made, ignore_errors=True)
    folders = sorted(path.parent for path in (ROOT / "examples").glob("*/pyproject.toml"))
    for folder in folders:
        flags = ("--wheel", "--no-isolation", "--outdir", str(made))
        session.run("python", "-m", "build", *flags, str(folder), silent=True)
    install_wheels(session, "stem-core", extras="[testing]")
    for path in sorted(made.glob("*.whl")):
        session.install("--find-links", str(WHEELS), f"{path}[test]")
    session.run("stem", "plugins", "--check", env=clean_environment())
    for folder in folders:
        with session.chdir(folder):
            session.run("pytest", "-q", "tests", *session.posargs, env=clean_environment())


@nox.session(requires=["build"])
def docs(session: nox.Session) -> None:
    """Make the site in .nox/site, where a warning is an error, and run every code block of it.

    `-- --serve` shows it on 127.0.0.1 and makes it anew when a page changes; `-- --write` writes
    the pages and pictures that are generated. Other arguments are tests to run instead of all.
    """
    install_wheels(session, *DISTRIBUTIONS, extras="[testing]")
    session.install(*group("test"), *group("docs"))
    rooms = {"PYTHONPATH": str(ROOT / "docs" / "_tools")}
    if "--write" in session.posargs:
        session.run("python", "-m", "stem_docs", env=clean_environment() | rooms)
        return
    if "--serve" in session.posargs:
        watched = ("--watch", "docs", "--watch", "benchmarks")
        session.run("sphinx-autobuild", *watched, "docs", str(SITE), env=clean_environment())
        return
    strict = ("--fail-on-warning", "--keep-going", "--fresh-env")
    session.run("sphinx-build", *strict, "docs", str(SITE), env=clean_environment())
    pytest(session, "tests/docs")


@nox.session(requires=["build"])
def chaos(session: nox.Session) -> None:
    """Kill, freeze and lock out real processes, and write docs/reliability.md.

    It takes an hour and a half; `-- -k 'rows-H or A9'` measures these rows anew, no others.
    """
    install_wheels(session, *DISTRIBUTIONS, extras="[testing]")
    session.install(*group("test"))
    trials = os.environ.get("STEM_CHAOS_TRIALS", "20")
    page = str(ROOT / "docs" / "reliability.md")
    pytest(session, "tests/chaos", STEM_CHAOS_TRIALS=trials, STEM_CHAOS_PAGE=page)


@nox.session(requires=["build"])
def soak(session: nox.Session) -> None:
    """Run 200,000 tasks on each store and see what grows; `-- --tasks 1000000 redis` for more.

    Without arguments also what takes minutes at a Redis server: 200,000 tasks twice, after which
    nothing is left there, and fifty workers whose server is away for five minutes.
    """
    install_wheels(session, *DISTRIBUTIONS, extras="[testing]")
    session.install(*group("test"))
    told = {"PYTHONPATH": str(ROOT / "tests")}
    session.run("python", "-m", "soak.run", *session.posargs, env=clean_environment() | told)
    if not session.posargs:
        long = {"STEM_TEST_TASKS": "200000", "STEM_TEST_OUTAGE": "300"}
        suites = (f"tests/integration/test_redis_{name}.py" for name in ("growth", "fleet"))
        session.run("pytest", "-s", *suites, env=clean_environment() | long)


@nox.session(requires=["build"])
def promises(session: nox.Session) -> None:
    """Prove each store and signer, and write docs/reliability.md: who keeps which promise.

    Servers are found as the tests find them; STEM_TEST_REDIS_URL and its kin name another one.
    """
    install_wheels(session, *DISTRIBUTIONS, extras="[testing]")
    session.install(*group("test"))
    told = {"PYTHONPATH": str(ROOT / "tests")}
    page = str(ROOT / "docs" / "reliability.md")
    session.run("python", "-m", "promises.write", page, env=clean_environment() | told)


@nox.session(requires=["build"])
def mutants(session: nox.Session) -> None:
    """Break the brokers in one line each and see the kit turn red; `-- NAME` for some."""
    install_wheels(session, *DISTRIBUTIONS, extras="[testing]")
    session.install(*group("test"))
    session.run("python", "tests/mutants/run.py", *session.posargs, env=clean_environment())


@nox.session(requires=["build"])
def bench(session: nox.Session) -> None:
    """Measure Stem beside its peers, interleaved, and write benchmarks/RESULTS*.md; `-- redis`.

    `-- signing` measures what a signature costs instead, `-- imports` what a start does.
    """
    install_wheels(session, *DISTRIBUTIONS)
    venvs = str(session.cache_dir / "peers")
    if session.posargs[:1] == ["imports"]:
        page = str(ROOT / "benchmarks" / "RESULTS-IMPORTS.md")
        how = ("--venvs", venvs, "--page", page, *session.posargs[1:])
        session.run("python", "benchmarks/imports.py", *how, env=clean_environment())
        return
    if session.posargs[:1] == ["signing"]:
        page = str(ROOT / "benchmarks" / "RESULTS-SIGNING.md")
        session.run("python", "benchmarks/signing.py", "--page", page, *session.posargs[1:])
        return
    session.install(*group("test"), "-r", "benchmarks/requirements.txt")
    session.run("python", "benchmarks/run.py", "--venvs", venvs, *session.posargs)

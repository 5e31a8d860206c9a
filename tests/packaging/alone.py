"""Run inside an environment that holds one wheel and its declared dependencies, nothing else.

    python alone.py stem-core

It proves that the distribution needs nothing that it does not declare. It is a
script, not a test: pytest would bring packages of its own into the environment.
"""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.metadata as metadata
import os
import pkgutil
import re
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

# These rooms need an extra; an import without it must fail by naming that extra's package.
BEHIND_AN_EXTRA = {"stem_core.testing": {"pytest", "hypothesis"}}
SEEDED = {"pip", "setuptools", "wheel"}


def main(distribution: str) -> None:
    """Check *distribution*, print what was seen, and exit 1 at the first thing that is wrong."""
    package = distribution.replace("-", "_")
    say = functools.partial(print, f"{distribution}:")
    say(import_each_first(package), "modules import as the first one of a process")
    say(import_everything(package), "modules import with the declared dependencies alone")
    say("entry points load:", *load_entry_points(distribution))
    say("foreign imports, each declared:", *imports_only_what_it_declares(distribution))
    say("installed beside it:", *only_what_it_leads_to(distribution))
    say("the program says:", the_program(distribution))


def import_each_first(package: str) -> int:
    """Import every module of *package* in a process that has imported nothing of Stem.

    So a circle of imports is seen from each of its modules. To be called before anything of
    Stem is imported here: the processes are forks of this one.
    """
    check("stem_core" not in sys.modules, "this process has imported Stem already")
    names = modules_of(package)
    for name in names:
        child = os.fork()
        if not child:
            import_one(name)
            os._exit(0)
        check(os.waitpid(child, 0)[1] == 0, f"{name} cannot be the first to be imported")
    return len(names)


def import_everything(package: str) -> int:
    """Import every module of *package* into one process; return how many there are."""
    folder = folder_of(package)
    check((folder / "py.typed").is_file(), f"{package} has no py.typed")
    names = modules_of(package)
    for name in names:
        import_one(name)
    return len(names)


def folder_of(package: str) -> Path:
    """Return where *package* was installed, without importing it."""
    return Path(sysconfig.get_path("purelib")) / package


def modules_of(package: str) -> list[str]:
    """Return the names of *package* and of every module in it."""
    found = walk([str(folder_of(package))], f"{package}.")
    check(bool(found), f"{package} is not in site-packages")
    return [package, *(info.name for info in found)]


def walk(path: Sequence[str], prefix: str) -> list[pkgutil.ModuleInfo]:
    """Find all modules without importing any; `__main__` modules run, so they are left out."""
    found = [info for info in pkgutil.iter_modules(path, prefix) if "__main__" not in info.name]
    for info in [info for info in found if info.ispkg]:
        nested = Path(path[0]) / info.name.rpartition(".")[2]
        found += walk([str(nested)], f"{info.name}.")
    return found


def import_one(name: str) -> bool:
    """Say whether *name* imports; it may fail only for want of the extra its room is behind."""
    allowed: set[str] = set()
    for room, packages in BEHIND_AN_EXTRA.items():
        allowed |= packages if name == room or name.startswith(f"{room}.") else set()
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        check((error.name or "").partition(".")[0] in allowed, f"{name} needs {error.name}")
        return False
    return True


def load_entry_points(distribution: str) -> list[str]:
    """Load each entry point of *distribution*; return their names with their groups.

    One whose module is behind an extra is loaded by the package that the extra brings.
    """
    entries = metadata.distribution(distribution).entry_points
    for entry in entries:
        if import_one(entry.module):
            check(entry.load() is not None, f"{entry} loads nothing")
    return [f"{entry.group}:{entry.name}" for entry in entries]


def only_what_it_leads_to(distribution: str) -> list[str]:
    """Return what else is installed here, after checking that *distribution* leads to all of it."""
    installed = {normal(each.name) for each in metadata.distributions()} - SEEDED
    reached = reachable(normal(distribution), installed)
    check(installed == reached, f"not a clean environment: {sorted(installed - reached)}")
    return sorted(installed - {normal(distribution)})


def reachable(name: str, installed: set[str]) -> set[str]:
    """Return *name* and everything installed that its requirements lead to."""
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        current = waiting.pop()
        if current in installed and current not in seen:
            seen.add(current)
            waiting += [normal(need) for need in metadata.requires(current) or []]
    return seen


def imports_only_what_it_declares(distribution: str) -> list[str]:
    """Return the foreign packages that the sources name, after checking that each is declared.

    Importing a dependency of a dependency works until that one changes its mind, so it is
    looked for in the text: imports inside functions and for type checkers count too.
    """
    package = distribution.replace("-", "_")
    sources = folder_of(package).rglob("*.py")
    named = {name for path in sources for name in imported(path.read_text("utf-8"))}
    foreign = named - {package} - sys.stdlib_module_names
    owners = metadata.packages_distributions()
    declared = {normal(need) for need in metadata.requires(distribution) or []}
    for name in foreign:
        owned_by = {normal(owner) for owner in owners.get(name, [name])}
        check(bool(owned_by & declared), f"{distribution} imports {name} and does not declare it")
    return sorted(foreign)


def imported(source: str) -> set[str]:
    """Return the top-level names of everything that *source* imports, wherever it does."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


def normal(requirement: str) -> str:
    """Return the normalised name that a requirement line begins with."""
    name = re.match(r"[A-Za-z0-9._-]+", requirement)
    return re.sub(r"[-_.]+", "-", name[0]).lower() if name else ""


def the_program(distribution: str) -> str:
    """Let `stem` check every plugin that is here and help with each command of *distribution*.

    Return the one line that `stem version` prints.
    """
    checked = said("plugins", "--check")
    check(distribution in checked, f"stem plugins --check does not know {distribution}")
    entries = metadata.distribution(distribution).entry_points
    for command in entries.select(group="stem.commands"):
        check("Usage: stem" in said(command.name, "--help"), f"stem {command.name} has no help")
    version = said("version")
    check(metadata.version("stem-core") in version, f"stem version says {version!r}")
    return version.splitlines()[0]


def said(*arguments: str) -> str:
    """Return what the console script says; exit unless it ends well."""
    script = Path(sysconfig.get_path("scripts")) / "stem"
    run = subprocess.run([str(script), *arguments], capture_output=True, text=True)
    check(run.returncode == 0, f"stem {' '.join(arguments)}: {run.returncode}: {run.stderr}")
    return run.stdout


def check(holds: bool, complaint: str) -> None:
    """Exit with *complaint* unless it holds; unlike assert, under -O too."""
    if not holds:
        sys.exit(f"FAILED: {complaint}")


if __name__ == "__main__":
    main(sys.argv[1])

"""The one version of all distributions: shown, or set in lockstep.

    python tools/version.py           show it; exit 1 unless all agree
    python tools/version.py 0.2.0     set it everywhere, with the ranges between them

It writes the four pyproject.toml files, and the range of core where examples and pages show one.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

ROOT: Final = Path(__file__).parents[1]
CORE: Final = "stem-core"
DISTRIBUTIONS: Final = (CORE, "stem-redis", "stem-postgres", "stem-signing")

_FORM: Final = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")
_VERSION_LINE: Final = re.compile(r'^version = "[^"\n]*"$', re.MULTILINE)
_RANGE: Final = re.compile(rf'"(?P<name>{CORE}(?:\[[\w,]+\])?)>=[^"\n]*"')


class Version(NamedTuple):
    """The number of a release."""

    major: int
    minor: int
    patch: int

    def __str__(self) -> str:
        return ".".join(map(str, self))


class Refused(Exception):
    """What was asked for cannot be meant; the message says why."""


def parsed(text: str) -> Version:
    """Return the version that *text* is.

    Raises:
        Refused: it is not three plain numbers.
    """
    if not _FORM.fullmatch(text):
        raise Refused(f"{text!r} is no version: write three numbers, such as 0.2.0")
    return Version(*map(int, text.split(".")))


def following(version: Version) -> tuple[Version, Version, Version]:
    """Return what can come after *version*: the next patch, minor and major release."""
    major, minor, patch = version
    return (
        Version(major, minor, patch + 1),
        Version(major, minor + 1, 0),
        Version(major + 1, 0, 0),
    )


def core_range(version: Version) -> str:
    """Return the releases of core that a plugin of *version* accepts.

    While Stem is 0.x a minor release may change what it must, so they share the minor.
    """
    major, minor, _ = version
    below = f"{major + 1}" if major else f"0.{minor + 1}"
    return f">={major}.{minor},<{below}"


def set_in(text: str, version: Version) -> str:
    """Return the pyproject.toml *text* with *version*, and with the range of core that fits.

    Raises:
        Refused: the text has not exactly one line with a version.
    """
    changed, count = _VERSION_LINE.subn(f'version = "{version}"', text)
    if count != 1:
        raise Refused(f"{count} lines are a version; one was expected")
    return set_ranges(changed, version)


def set_ranges(text: str, version: Version) -> str:
    """Return *text* with the range of core that fits *version*, wherever one is quoted."""
    return _RANGE.sub(lambda found: f'"{found["name"]}{core_range(version)}"', text)


def current(root: Path) -> Version:
    """Return the version on which all distributions in *root* agree.

    Raises:
        Refused: they do not, or a range between them does not hold the version.
    """
    projects = {name: _project(root, name) for name in DISTRIBUTIONS}
    found = {name: str(project["version"]) for name, project in projects.items()}
    if len(set(found.values())) > 1:
        said = ", ".join(f"{name} {version}" for name, version in found.items())
        raise Refused(f"the distributions are not in lockstep: {said}")
    version = parsed(found[CORE])
    for name, project in projects.items():
        wanted = f"{CORE}{core_range(version)}"
        needs = [need for need in project["dependencies"] if need.startswith(CORE)]
        if name != CORE and needs != [wanted]:
            raise Refused(f"{name} {version} needs {needs}, and {[wanted]} was expected")
    return version


def set_everywhere(root: Path, version: Version) -> None:
    """Set *version* in all distributions in *root*; none is written unless all can be.

    Raises:
        Refused: it does not follow the present one, or a file is not as it should be.
    """
    now = current(root)
    if version not in following(now):
        one, two, three = following(now)
        raise Refused(f"{version} does not follow {now}: next is {one}, {two} or {three}")
    paths = [root / name / "pyproject.toml" for name in DISTRIBUTIONS]
    texts = {path: set_in(path.read_text("utf-8"), version) for path in paths}
    shown = [*root.glob("examples/*/pyproject.toml"), *root.glob("docs/**/*.md")]
    texts |= {path: set_ranges(path.read_text("utf-8"), version) for path in shown}
    for path, text in texts.items():
        if text != path.read_text("utf-8"):
            path.write_text(text, "utf-8")


def _project(root: Path, distribution: str) -> dict[str, Any]:
    text = (root / distribution / "pyproject.toml").read_text("utf-8")
    project: dict[str, Any] = tomllib.loads(text)["project"]
    return project


def main(arguments: Sequence[str], root: Path = ROOT) -> str:
    """Do what *arguments* ask for; return what to print.

    Raises:
        Refused: it makes no sense.
    """
    if len(arguments) > 1:
        raise Refused(f"one version, not {len(arguments)}: {' '.join(arguments)}")
    if not arguments:
        return str(current(root))
    before = current(root)
    set_everywhere(root, parsed(arguments[0]))
    return f"{before} -> {current(root)} in {', '.join(DISTRIBUTIONS)}"


if __name__ == "__main__":
    try:
        print(main(sys.argv[1:]))
    except Refused as refusal:
        sys.exit(f"error: {refusal}")

"""Compare a wheel made from the source tree with what a stranger's build made.

    python artifacts.py SOURCE WHEEL FOLDER

SOURCE is the tree of one distribution, FOLDER holds one sdist and the wheel that was built
from it. It needs the `packaging` library, which the build front end brings.
"""

from __future__ import annotations

import re
import sys
import tarfile
import zipfile
from pathlib import Path

from packaging.metadata import Metadata


def main(source: Path, wheel: Path, rebuilt: Path) -> None:
    """Check the sdist and the wheels, and exit 1 at the first thing that is wrong."""
    (sdist,) = rebuilt.glob("*.tar.gz")
    (second,) = rebuilt.glob("*.whl")
    same_members(members(wheel), members(second))
    nothing_left_behind(source, wheel)
    nothing_strange(wheel)
    nothing_strange_in_sdist(sdist)
    metadata = valid_metadata(wheel)
    print(f"{sdist.name} builds the same wheel: {len(members(wheel))} files")
    print(f"{wheel.name}: metadata {metadata.metadata_version} is valid")


def members(wheel: Path) -> dict[str, bytes]:
    """Return the contents of *wheel*, without the times that a ZIP file keeps."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def same_members(first: dict[str, bytes], second: dict[str, bytes]) -> None:
    """Exit unless both wheels hold the same files with the same bytes."""
    check(first.keys() == second.keys(), f"one only: {sorted(first.keys() ^ second.keys())}")
    differing = [name for name in first if first[name] != second[name]]
    check(not differing, f"not the same bytes: {differing}")


def nothing_left_behind(source: Path, wheel: Path) -> None:
    """Exit unless *wheel* holds every file of the package: code, Lua, SQL, templates, markers."""
    root = source / "src"
    files = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    wanted = {name for name in files if "__pycache__" not in name}
    check(wanted <= members(wheel).keys(), f"left behind: {sorted(wanted - members(wheel).keys())}")


def nothing_strange(wheel: Path) -> None:
    """Exit unless *wheel* holds its package, its marker, its licence, and nothing beside them."""
    distribution, version, *_ = wheel.name.split("-")
    information = f"{distribution}-{version}.dist-info"
    names = members(wheel).keys()
    for needed in (f"{distribution}/py.typed", f"{information}/licenses/LICENSE"):
        check(needed in names, f"{wheel.name} lacks {needed}")
    strange = [name for name in names if not name.startswith((f"{distribution}/", information))]
    left_over = [name for name in names if "__pycache__" in name or name.endswith(".pyc")]
    check(not strange + left_over, f"{wheel.name} holds {strange + left_over}")


def nothing_strange_in_sdist(sdist: Path) -> None:
    """Exit unless *sdist* holds what a build needs and no more."""
    known = {"src", "README.md", "LICENSE", "pyproject.toml", "PKG-INFO", ".gitignore"}
    with tarfile.open(sdist) as archive:
        top = {name.split("/")[1] for name in archive.getnames()}
    check(top - {".gitignore"} == known - {".gitignore"}, f"{sdist.name} holds {sorted(top)}")


def valid_metadata(wheel: Path) -> Metadata:
    """Return the metadata of *wheel* after every field was validated; exit if one is wrong."""
    (name,) = [name for name in members(wheel) if name.endswith(".dist-info/METADATA")]
    metadata = Metadata.from_email(members(wheel)[name], validate=True)
    check(bool(metadata.description and metadata.summary), f"{wheel.name} does not describe itself")
    check(metadata.description_content_type == "text/markdown", "the README is not Markdown")
    # An index shows the page alone: there is nothing that a path could lead to.
    paths = re.findall(r"\]\((?!https?:|#)([^)]*)\)", metadata.description or "")
    check(not paths, f"the README of {wheel.name} links to {paths}")
    return metadata


def check(holds: bool, complaint: str) -> None:
    """Exit with *complaint* unless it holds; unlike assert, under -O too."""
    if not holds:
        sys.exit(f"FAILED: {complaint}")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))

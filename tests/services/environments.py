"""Environments in which an installer has installed what a test made up.

Nothing of it comes from an index: the wheels are written here, and what Stem itself needs is
seen through the environment that runs the tests.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Mapping
from pathlib import Path

_VERSION = "1.0"
_TAG = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def write_wheel(
    folder: Path, name: str, module: str, groups: Mapping[str, Mapping[str, str]]
) -> Path:
    """Write the wheel of release 1.0, with one module named like it; return its path.

    *groups* maps entry-point group to name to value.
    """
    return write_files(folder, name, {f"{name.replace('-', '_')}.py": module}, groups)


def write_files(
    folder: Path, name: str, contents: Mapping[str, str], groups: Mapping[str, Mapping[str, str]]
) -> Path:
    """Write a wheel as `write_wheel` does, with *contents*: the text of each path."""
    package = name.replace("-", "_")
    info = f"{package}-{_VERSION}.dist-info"
    points = "".join(
        f"[{group}]\n" + "".join(f"{point} = {value}\n" for point, value in names.items())
        for group, names in groups.items()
    )
    files = {
        **contents,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {_VERSION}\n",
        f"{info}/WHEEL": _TAG,
        f"{info}/entry_points.txt": points,
    }
    record = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    wheel = folder / f"{package}-{_VERSION}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(path, text)
    return wheel


class Environment:
    """A virtual environment that also sees what the tests run with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        venv.create(folder, with_pip=True)
        self.python = folder / "bin" / "python"
        [own] = folder.glob("lib/python*/site-packages")
        outer = sysconfig.get_path("purelib")
        # By `addsitedir`, so that editable installs are seen as well.
        (own / "outer.pth").write_text(f"import site; site.addsitedir({outer!r})\n")

    def install(self, *wheels: Path) -> None:
        """Let pip install *wheels*, and nothing that they may need."""
        flags = ("--quiet", "--no-index", "--no-deps", "--disable-pip-version-check")
        self.run("-m", "pip", "install", *flags, *map(str, wheels)).check_returncode()

    def stem(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run the program."""
        return self.run("-m", "stem_core", *arguments, **more)

    def run(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run Python with *arguments*, apart from the settings and paths of this process."""
        return _run([str(self.python), *arguments], self.folder, more)


class Folder:
    """A folder before all others on the path, with what an installer would have put there.

    Quicker than an `Environment`, for tests that are not about the installer.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def install(self, *wheels: Path) -> None:
        """Unpack *wheels*: code, and what tells of each distribution."""
        for wheel in wheels:
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(self.folder)

    def stem(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run the program."""
        return self.run("-m", "stem_core", *arguments, **more)

    def run(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run Python with *arguments*, apart from the settings of this process."""
        before = os.environ.get("PYTHONPATH")
        path = os.pathsep.join([str(self.folder), *([before] if before else [])])
        return _run([sys.executable, *arguments], self.folder, {"PYTHONPATH": path, **more})


def _run(
    command: list[str], folder: Path, more: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("STEM_", "PYTHON"))
    }
    return subprocess.run(
        command,
        cwd=folder,
        env={**kept, **more},
        capture_output=True,
        text=True,
        timeout=120,
    )

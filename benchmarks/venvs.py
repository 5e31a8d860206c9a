"""A virtual environment for each peer: their drivers want versions that exclude each other."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

HERE = Path(__file__).parent


class Venvs:
    """Virtual environments in *folder*, made when first asked for and kept."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._versions: dict[str, str] = {}

    def python_of(self, requirements: str | None) -> Path:
        """Return the interpreter that has what the file *requirements* pins; our own for none.

        Raises:
            subprocess.SubprocessError: it cannot be installed.
        """
        if requirements is None:
            return Path(sys.executable)
        wanted = HERE / requirements
        venv = self._folder / wanted.stem
        python, stamp = venv / "bin" / "python", venv / "installed.txt"
        if not stamp.exists() or stamp.read_text() != wanted.read_text():
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(venv)], check=True)
            subprocess.run([python, "-m", "pip", "install", "-q", "-r", str(wanted)], check=True)
            stamp.write_text(wanted.read_text())
        return python

    def version_of(self, distribution: str, requirements: str | None) -> str:
        """Return which version of *distribution* was measured; empty when there is none."""
        if requirements is None:
            try:
                return version(distribution)
            except PackageNotFoundError:
                return ""
        pins = (line.partition("==") for line in (HERE / requirements).read_text().split())
        return next((pin for name, _, pin in pins if name.partition("[")[0] == distribution), "")

"""The previous release, from git: ``python -m mixed.previous COMMIT FOLDER [REQUIREMENT...]``.

FOLDER gets `wheels`, and `venv`, an environment with all of them and the other requirements.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
DISTRIBUTIONS = ("stem-core", "stem-redis", "stem-postgres", "stem-signing")


def main(commit: str, folder: Path, requirements: Sequence[str]) -> None:
    """Build and install *commit* into a new *folder*; exit 1 if git does not have it."""
    refuse_unless_known(commit)
    shutil.rmtree(folder, ignore_errors=True)
    sources = folder / "sources"
    sources.mkdir(parents=True)
    archive = sources / "previous.tar"
    run("git", "archive", "-o", str(archive), commit, *DISTRIBUTIONS)
    shutil.unpack_archive(archive, sources)
    into = ("--wheel", "--no-isolation", "--outdir", str(folder / "wheels"))
    for distribution in DISTRIBUTIONS:
        run(sys.executable, "-m", "build", *into, str(sources / distribution))
    run(sys.executable, "-m", "virtualenv", str(folder / "venv"))
    python = str(folder / "venv" / "bin" / "python")
    wheels = map(str, sorted((folder / "wheels").iterdir()))
    run(python, "-m", "pip", "install", *wheels, *requirements)


def refuse_unless_known(commit: str) -> None:
    """Exit with the way out unless the history that is here has *commit*."""
    known = subprocess.run(
        ["git", "cat-file", "-e", f"{commit}^{{commit}}"], cwd=ROOT, capture_output=True
    )
    if known.returncode:
        sys.exit(
            f"error: there is no commit {commit} here. Mixed releases need the history of the "
            "project (git fetch --unshallow), or STEM_TEST_PREVIOUS_COMMIT with another one."
        )


def run(*command: str) -> None:
    """Run *command* at the root of the project; show what it said and exit if it fails."""
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout.decode(errors='replace')}")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])

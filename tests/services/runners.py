"""Who runs a server: this user, or somebody with fewer rights where root may not."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from attrs import field, frozen

__all__ = ["MYSELF", "Runner", "environment", "others"]

_LAUNCHER = Path(__file__).with_name("launcher.py")
_PATIENCE_S = 180


@frozen
class Runner:
    """Somebody who can run a program.

    Attributes:
        name: who it is, for messages.
        identity: uid and gid to change to; None stays who one is.
        prefix: what stands before the program.
    """

    name: str
    identity: tuple[int, int] | None = None
    prefix: tuple[str, ...] = field(default=())

    def command(self, words: Sequence[str]) -> list[str]:
        """Return what to execute, so that *words* run as this somebody and die with us."""
        uid, gid = map(str, self.identity or ("-", "-"))
        python = [sys.executable, "-I", "-S", str(_LAUNCHER)]
        return [*self.prefix, *python, str(os.getpid()), uid, gid, *words]

    def run(self, *words: str, cwd: Path | None = None) -> str:
        """Run *words* to their end and return what they said.

        Raises:
            OSError: they cannot be run, or failed; the message holds what they said.
        """
        try:
            done = subprocess.run(
                self.command(words),
                cwd=cwd or "/",
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=_PATIENCE_S,
            )
        except subprocess.TimeoutExpired:
            raise OSError(f"{words[0]}: no end after {_PATIENCE_S} s") from None
        if done.returncode:
            raise OSError(done.stdout.strip() or f"exit code {done.returncode}")
        return done.stdout

    def take(self, folder: Path) -> None:
        """Make *folder* this somebody's own."""
        if self.identity:
            shutil.chown(folder, *self.identity)


MYSELF = Runner("myself")


def others() -> list[Runner]:
    """Return who may run what refuses to be run by root, the best first.

    A user namespace reaches programs below a folder that only root may enter, and containers
    often forbid it: so it comes last.
    """
    known = [_user(name) for name in ("postgres", "nobody")]
    mapped = ("--user", "--map-user=1000", "--map-group=1000")
    apart = shutil.which("unshare")
    spaces = [Runner("in a user namespace", prefix=(apart, *mapped))] if apart else []
    return [runner for runner in known if runner] + spaces


def _user(name: str) -> Runner | None:
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    return Runner(f"as {name}", (entry.pw_uid, entry.pw_gid))


def environment() -> Mapping[str, str]:
    """Return an environment that steers no server, with messages in English."""
    foreign = ("PG", "STEM_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return {**kept, "LC_ALL": "C"}

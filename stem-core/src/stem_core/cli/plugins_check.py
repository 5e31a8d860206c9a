"""Trying every plugin in another process, so that none can hang or end this one.

Rule of this module: what is wrong with a plugin is a sentence in its row, whatever it is.
"""

from __future__ import annotations

import json
import os
import select
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from attrs import evolve

from stem_core.discovery.host import PluginHost
from stem_core.discovery.table import PluginRow

__all__ = ["checked_apart"]

_CHUNK: Final = 65_536


def checked_apart(host: PluginHost, patience_s: float) -> list[PluginRow]:
    """Return the rows of `PluginHost.check`, tried in a child process.

    One that takes longer than *patience_s*, or ends the process, has a row that says so; the
    others go on in a new child.
    """
    rows = host.rows()
    done: list[PluginRow] = []
    while len(done) < len(rows):
        child = _Child(host, len(done))
        try:
            done += child.rows(patience_s)
            missing = rows[len(done) :]
            if missing:
                why = child.why_it_ended(patience_s)
                done.append(evolve(missing[0], state="error", detail=_blame(missing[0], why)))
        finally:
            child.end()
    return done


def _blame(row: PluginRow, why: str) -> str:
    who = f"{row.distribution} {row.version}".strip() or "a distribution without a name"
    return f"plugin {who} ({row.module}) {why}"


class _Child:
    """A copy of this process that tries the plugins from *start* on and tells of each.

    Copied and not started anew: it looks where this one looks, and needs no time to begin.
    """

    def __init__(self, host: PluginHost, start: int) -> None:
        self._source, sink = os.pipe()
        self._code: int | None = None
        self._is_late = False
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self._source)
            _try_each(host, start, sink)
        os.close(sink)

    def rows(self, patience_s: float) -> Iterator[PluginRow]:
        """Yield rows, until the child has ended or takes longer than *patience_s* for one."""
        rest, until = b"", time.monotonic() + patience_s
        while chunk := self._read(until - time.monotonic()):
            *lines, rest = (rest + chunk).split(b"\n")
            yield from (PluginRow(**json.loads(line)) for line in lines)
            until = time.monotonic() + patience_s if lines else until
        self._is_late = chunk is None

    def why_it_ended(self, patience_s: float) -> str:
        """Say what the plugin did of which the child never told."""
        code = self.end()
        if self._is_late:
            return f"was not imported within {patience_s:g} s"
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return f"ended the process that imported it ({how})"

    def end(self) -> int:
        """Leave nothing of it behind; return how it ended, as `subprocess` says it."""
        if self._code is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._pid, signal.SIGKILL)  # and what a plugin has started
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
            self._code = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
            os.close(self._source)
        return self._code

    def _read(self, patience_s: float) -> bytes | None:
        """Return what the child tells, nothing when it has ended, None when time is up."""
        readable, _, _ = select.select([self._source], [], [], max(0.0, patience_s))
        return os.read(self._source, _CHUNK) if readable else None


def _try_each(host: PluginHost, start: int, sink: int) -> None:
    """Be the child: write one line for each row, and end without a word."""
    code = 1
    try:
        os.setpgid(0, 0)
        os.dup2(2, 1)  # standard output is the table's, whatever a plugin prints
        for row in host.checks(start):
            os.write(sink, json.dumps(row.to_json()).encode() + b"\n")
        code = 0
    finally:
        os._exit(code)

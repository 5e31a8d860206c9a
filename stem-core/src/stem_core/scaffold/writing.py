"""Writing a new folder: the whole of it, or nothing, and never over something else."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from secrets import token_hex

from stem_core.model.errors import UsageError

__all__ = ["write_new_folder"]


def write_new_folder(folder: Path, contents: Mapping[str, str]) -> None:
    """Make *folder* with *contents*, which maps relative paths to texts.

    It gets its name when it is complete, so nobody ever sees half of it.

    Raises:
        UsageError: there is something of that name, or it cannot be written.
    """
    if os.path.lexists(folder):
        raise UsageError(f"{folder} is there already", way_out="Nothing was written over it.")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = folder.parent / f".{folder.name}-{token_hex(4)}"
        draft.mkdir()
        try:
            _fill(draft, contents)
            draft.rename(folder)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
    except OSError as error:
        raise UsageError(f"{folder} cannot be written: {error.strerror}") from error


def _fill(folder: Path, contents: Mapping[str, str]) -> None:
    for path, text in contents.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")

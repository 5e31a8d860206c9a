"""What the URL of a SQLite store may say after its ``?``."""

from __future__ import annotations

from typing import Literal

from attrs import frozen

__all__ = ["SqliteOptions"]


@frozen(kw_only=True)
class SqliteOptions:
    """Options of ``sqlite:///tasks.db?…``.

    Attributes:
        durability: ``full``: what a call has accepted is on the disk before it returns, and
            survives a power cut. ``normal``: it survives the death of any process; a power
            cut may take the last moments. Several times faster where the disk is slow.
    """

    durability: Literal["full", "normal"] = "full"

"""Where `stem demo` keeps its tasks and results: a file of its own, or the store that it is given.

In a store that others use too, everything is in a namespace that is new for each demo.
"""

from __future__ import annotations

import secrets
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, Self
from urllib.parse import quote

from attrs import frozen

from stem_core.cli.extensions import plugin_host
from stem_core.cli.stores import refuse_private
from stem_core.cli.terminal import visible
from stem_core.contracts.broker import Broker
from stem_core.model.settings import StemConfig
from stem_core.model.urls import StemURL

__all__ = ["BROKER", "Place"]

BROKER: Final = "STEM_DEMO_BROKER"

_NAMESPACE: Final = "STEM_NAMESPACE"
_WAYS_TO_REACH: Final = ("STEM_PLUGINS", "STEM_TLS_")


@frozen(kw_only=True)
class Place:
    """One namespace of one store.

    Attributes:
        url: of the broker, and of its own result backend.
        namespace: of this demo.
        file: the SQLite file, if it is one that the demo has made; else None.
        is_kept: nothing of it is removed at the end.
    """

    url: StemURL
    namespace: str
    file: str | None = None
    is_kept: bool = False

    @classmethod
    def a_file(cls, folder: Path, *, is_kept: bool) -> Self:
        """Return a new SQLite file in *folder*."""
        path = str(folder / "tasks.db")
        url = StemURL.parse(f"sqlite:///{quote(Path(path).as_posix())}")
        return cls(url=url, namespace="stem", file=path, is_kept=is_kept)

    @classmethod
    def a_namespace(cls, url: StemURL, *, is_kept: bool) -> Self:
        """Return a namespace of the store at *url* that nobody has used."""
        return cls(url=url, namespace=f"demo-{secrets.token_hex(4)}", is_kept=is_kept)

    def variables(self, own: Mapping[str, str]) -> dict[str, str]:
        """Return *own* for this demo: of Stem's settings only those that lead to the store."""
        ways = () if self.file else _WAYS_TO_REACH
        kept = {
            name: value
            for name, value in own.items()
            if not name.startswith("STEM_") or name.startswith(ways)
        }
        # Not as arguments, which everybody on the machine can read: it may hold a password.
        return {**kept, BROKER: self.url.reveal(), _NAMESPACE: self.namespace}

    def check(self, broker: Broker) -> None:
        """Raise unless worker processes see what is in *broker*."""
        refuse_private(
            broker,
            "broker",
            at="the demo",
            in_vain="its workers are other processes and would see no task",
        )

    def introduced(self) -> str:
        """Say where tasks and results are."""
        if self.file is not None:
            return "One SQLite file holds tasks and results; there is no server."
        return f"{self.shown} holds tasks and results, in the namespace {self.namespace}."

    def settings(self, own: Mapping[str, str]) -> StemConfig:
        """Return the settings that `variables` of *own* say."""
        return StemConfig.from_environment(self.variables(own), require_broker=False)

    @property
    def is_to_be_emptied(self) -> bool:
        """True when task by task, for the store stays and nobody wants what the demo left."""
        return self.file is None and not self.is_kept

    @property
    def shown(self) -> str:
        """The URL, without secrets."""
        return visible(plugin_host().shown("broker", self.url))

    @property
    def name(self) -> str:
        """What `--keep` keeps."""
        return self.namespace if self.file is None else self.file

    def ways_to_look(self, id: str | None) -> Iterator[str]:
        """Say how to look at what was kept, at the task *id* among others."""
        if self.file is None:
            yield f"Kept: the namespace {self.namespace} of {self.shown}. Look at it:"
            yield f"  export STEM_BROKER_URL={shlex.quote(plugin_host().shown('broker', self.url))}"
            yield f"  export {_NAMESPACE}={self.namespace}"
        else:
            yield f"Kept: {visible(self.file)}. Look at it:"
            yield f"  export STEM_BROKER_URL={shlex.quote(self.url.reveal())}"
        yield "  stem queues list"
        if id is not None:
            yield f"  stem jobs show {id}"
        if self.file is not None:
            query = "SELECT state, count(*) FROM stem_record GROUP BY state"
            yield f"  sqlite3 {shlex.quote(self.file)} '{query}'"

"""What a `nats://` URL may say after its `?`."""

from __future__ import annotations

from typing import Final

from attrs import frozen

from stem_core.plugin import Milliseconds

_TIMEOUT: Final = Milliseconds(5_000)


@frozen(kw_only=True)
class NatsOptions:
    """Options of ``nats://host:port?…``. Stem reads them by their types, and refuses others.

    Attributes:
        timeout: how long the server may take to answer, or a connection to come about.
        replicas: servers of the cluster that keep the stream; counts when it is created.
    """

    timeout: Milliseconds = _TIMEOUT
    replicas: int = 1

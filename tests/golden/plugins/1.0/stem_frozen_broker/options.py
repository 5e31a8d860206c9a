"""What a `frozen-broker://` URL may say after its `?`."""

from __future__ import annotations

from typing import Final

from attrs import frozen
from stem_core.plugin import Milliseconds

_POLL: Final = Milliseconds(20)


@frozen(kw_only=True)
class FrozenBrokerOptions:
    """Options of ``frozen-broker:///folder?…``. Stem reads them by their types, and refuses others.

    Attributes:
        poll: how often a worker that waits looks into the folder again.
        max_payload: the largest message, in bytes.
    """

    poll: Milliseconds = _POLL
    max_payload: int = 1024 * 1024

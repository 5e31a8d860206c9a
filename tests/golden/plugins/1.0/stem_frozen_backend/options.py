"""What a `frozen-backend://` URL may say after its `?`."""

from __future__ import annotations

from typing import Final

from attrs import frozen
from stem_core.plugin import Milliseconds

_POLL: Final = Milliseconds(20)


@frozen(kw_only=True)
class FrozenBackendOptions:
    """Options of ``frozen-backend:///folder?…``. Stem reads them by their types, and refuses others.

    Attributes:
        poll: how often somebody who waits for a result looks into the folder again.
        max_payload: the largest result, in bytes.
    """

    poll: Milliseconds = _POLL
    max_payload: int = 16 * 1024 * 1024

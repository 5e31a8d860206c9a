"""Bodies of calls that differ in id, instant and arguments alone, written around those.

Most calls of a task say nothing but their arguments. What all of them share is checked and
encoded once, as the `codec` does it; a call pays for its arguments. Rule of this module:
what it writes is, byte for byte, what `codec.encode` writes.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from stem_core.model.codec import encode
from stem_core.model.envelope import Envelope
from stem_core.model.strict_json import check_object
from stem_core.model.value import replace

__all__ = ["Frame"]

_write: Final = msgspec.json.Encoder().encode
_ID: Final = b'"id":"0"'
_REST: Final = b'"enqueued_at_ms":0,"args":{"a":0}'


class Frame:
    """The body of *envelope* with places for an id, an instant and arguments.

    Raises:
        EnqueueError: *envelope* cannot be encoded, whatever these are.
    """

    __slots__ = ("_after", "_before", "_between", "_envelope")

    def __init__(self, envelope: Envelope) -> None:
        self._envelope: Final = envelope
        sample = encode(replace(envelope, id="0", enqueued_at_ms=0, args={"a": 0}))
        # Names hold no quotation mark, so what is looked for is found where it belongs.
        self._before, _, rest = sample.partition(_ID)
        self._between, _, self._after = rest.partition(_REST)

    def body(self, id: str, now_ms: int, args: dict[str, Any], max_bytes: int) -> bytes:
        """Return the body of a call; *id* is a generated one.

        Raises:
            EnqueueError: as `encode`.
        """
        if args:  # else they are left out
            check_object(args, "args", max_bytes)
            try:
                text = _write(args)
            except (TypeError, ValueError):
                text = b""  # the codec says why
            body = b'%b"id":"%b"%b"enqueued_at_ms":%d,"args":%b%b' % (
                self._before, id.encode(), self._between, now_ms, text, self._after
            )  # fmt: skip
            if text and len(body) <= max_bytes:
                return body
        envelope = replace(self._envelope, id=id, enqueued_at_ms=now_ms, args=args)
        return encode(envelope, max_bytes=max_bytes, checked=self._envelope.options)

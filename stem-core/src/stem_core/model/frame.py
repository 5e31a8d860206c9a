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
from stem_core.model.ids import uuid7
from stem_core.model.strict_json import check_object
from stem_core.model.value import replace

__all__ = ["Frame"]

_write: Final = msgspec.json.Encoder().encode
_ID: Final = b'"id":"0"'
_THEN: Final = b'"enqueued_at_ms":0'
_ARGS: Final = b',"args":'
_LONGER: Final = len(uuid7(0, bytes(10))) - 1 + len("1764000000000") - 1
"""By so much id and instant of a call are longer than those of the sample: until the year 2286."""


class Frame:
    """The body of *envelope* with places for an id, an instant and arguments.

    Raises:
        EnqueueError: *envelope* cannot be encoded, whatever these are.
    """

    __slots__ = ("_after", "_before", "_between", "_size", "_then")

    def __init__(self, envelope: Envelope) -> None:
        sample = encode(replace(envelope, id="0", enqueued_at_ms=0, args={}))
        # Names hold no quotation mark, so what is looked for is found where it belongs.
        before, _, rest = sample.partition(_ID)
        self._before: Final = before + _ID[:-2]
        self._between, _, self._after = rest.partition(_THEN)
        self._size: Final = len(sample) + _LONGER
        self._then = (-1, b"")  # the instant of the last call, and what stands around it

    def text(self, args: dict[str, Any], max_bytes: int) -> bytes | None:
        """Return what `body` needs of *args*; None if they cannot be sent: `encode` says why.

        Raises:
            EnqueueError: likewise.
        """
        if not args:
            return b"" if self._size <= max_bytes else None  # they are left out
        check_object(args, "args", max_bytes)
        try:
            text = _ARGS + _write(args)
        except (TypeError, ValueError):
            return None
        return text if self._size + len(text) <= max_bytes else None

    def body(self, id: str, now_ms: int, text: bytes) -> bytes:
        """Return the body of a call with the arguments in *text*; *id* is a generated one."""
        then, around = self._then  # one tuple, so that no other thread comes between
        if then != now_ms:
            around = b'"%b"enqueued_at_ms":%d' % (self._between, now_ms)
            self._then = (now_ms, around)
        return b"".join((self._before, id.encode(), around, text, self._after))

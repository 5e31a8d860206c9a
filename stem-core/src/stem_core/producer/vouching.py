"""Control messages that somebody vouches for: signed, for one namespace, now, and once.

Whoever can write to a broker can send control messages. As soon as there are keys, one
counts only if a key signed it for this purpose, this namespace and a time near now, and
only the first time that it is seen.

Rule of this module: bytes are verified before anything of them is read. Time and dice
are arguments.
"""

from __future__ import annotations

import contextlib
import heapq
from typing import Any, Final

import msgspec

from stem_core.contracts.clock import SYSTEM_CLOCK, SYSTEM_DICE, Clock, Dice
from stem_core.contracts.control import ControlChannel, ControlMessage
from stem_core.contracts.signer import Signer
from stem_core.model.codec import decode_value, encode_value
from stem_core.model.errors import (
    DecodeError,
    MalformedEnvelope,
    SignatureError,
    SignatureInvalid,
    StoreError,
)
from stem_core.model.seal import CONTROL, Seal

__all__ = ["CONTROL_WINDOW_MS", "ControlReader", "ControlWriter", "tell_workers"]

CONTROL_WINDOW_MS: Final = 60_000
"""How old a control message may be, and how far ahead of the reader's the writer's clock."""

_VERSION: Final = 1
_MOST_REMEMBERED: Final = 10_000
_REFUSED: Final = "the control message was not accepted"


class _Frame(msgspec.Struct, forbid_unknown_fields=True, frozen=True, gc=False):
    """What is signed."""

    v: int
    namespace: str
    at_ms: int
    nonce: str
    order: msgspec.Raw


class ControlWriter:
    """Makes control messages of orders.

    Args:
        namespace: whose workers are meant.
        signer: who vouches; None where there are no keys.
    """

    def __init__(
        self,
        namespace: str,
        signer: Signer | None,
        *,
        clock: Clock = SYSTEM_CLOCK,
        dice: Dice = SYSTEM_DICE,
    ) -> None:
        self._namespace = namespace
        self._signer = signer
        self._wall_ms = clock.wall_ms
        self._random = dice.bytes

    def write(self, order: dict[str, Any]) -> ControlMessage:
        """Return the message of *order*, a JSON object.

        Raises:
            NotEncodable: it is no JSON.
            SignatureError: there are keys, and none of them signs.
        """
        frame = _Frame(
            v=_VERSION,
            namespace=self._namespace,
            at_ms=self._wall_ms(),
            nonce=self._random(16).hex(),
            order=msgspec.Raw(encode_value(order)),
        )
        body = msgspec.json.encode(frame)
        if self._signer is None:
            return ControlMessage(body=body)
        seal = self._signer.sign(CONTROL, body)
        return ControlMessage(
            body=body,
            key_id=seal.key_id,
            algorithm=seal.algorithm,
            signature=seal.signature,
        )


async def tell_workers(channel: ControlChannel | None, writer: ControlWriter, id: str) -> None:
    """Let the worker that runs the task *id* ask the broker about it now.

    A hint: without it the worker learns the same when it renews the lease. So a broker
    without a channel, one that is away, and a process that cannot sign are no failures.
    """
    if channel is None:
        return
    with contextlib.suppress(StoreError, SignatureError):
        await channel.send(writer.write({"do": "look", "id": id}))


class ControlReader:
    """Gives the orders of control messages that count.

    Args:
        namespace: of the reader; messages for others do not count.
        signer: who verifies. With one, what nobody signed does not count.
    """

    def __init__(
        self, namespace: str, signer: Signer | None, *, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self._namespace = namespace
        self._signer = signer
        self._wall_ms = clock.wall_ms
        self._seen: set[str] = set()
        self._until: list[tuple[int, str]] = []  # a heap

    def read(self, message: ControlMessage) -> dict[str, Any]:
        """Return the order in *message*.

        Raises:
            SignatureMissing, SignatureInvalid: nobody vouches for it, here and now; its
                `why` is ``stale``, ``early``, ``seen-before`` or ``moved`` for one that
                was good elsewhere or at another time.
            MalformedEnvelope: it is none.
        """
        if self._signer is not None:
            seal = Seal(message.algorithm, message.key_id, message.signature)
            self._signer.verify(CONTROL, message.body, seal)
        frame = _parsed(message.body)
        why = self._why_not(frame)
        if why:
            raise SignatureInvalid(_REFUSED, why=why)
        return _order(frame)

    def _why_not(self, frame: _Frame) -> str:
        now_ms = self._wall_ms()
        if frame.namespace != self._namespace:
            return "moved"
        if frame.at_ms < now_ms - CONTROL_WINDOW_MS:
            return "stale"
        if frame.at_ms > now_ms + CONTROL_WINDOW_MS:
            return "early"
        return "" if self._is_new(frame, now_ms) else "seen-before"

    def _is_new(self, frame: _Frame, now_ms: int) -> bool:
        self._forget(now_ms)
        if frame.nonce in self._seen or len(self._seen) >= _MOST_REMEMBERED:
            return False  # full: a new one could not be told from one that comes again
        # It is good until its window ends, so it is remembered until then.
        self._seen.add(frame.nonce)
        heapq.heappush(self._until, (frame.at_ms + CONTROL_WINDOW_MS, frame.nonce))
        return True

    def _forget(self, now_ms: int) -> None:
        while self._until and self._until[0][0] < now_ms:
            self._seen.discard(heapq.heappop(self._until)[1])


def _parsed(body: bytes) -> _Frame:
    try:
        frame = msgspec.json.decode(body, type=_Frame, strict=True)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise MalformedEnvelope(f"not a control message: {error}") from None
    if frame.v != _VERSION:
        raise MalformedEnvelope(
            f"a control message of version {frame.v}, and this release reads {_VERSION}"
        )
    return frame


def _order(frame: _Frame) -> dict[str, Any]:
    try:
        order = decode_value(bytes(frame.order))
    except DecodeError as error:
        raise MalformedEnvelope(f"a control message without an order: {error}") from None
    if not isinstance(order, dict):
        raise MalformedEnvelope("a control message whose order is no object")
    return order

"""Results that somebody vouches for: signed by the worker, verified by whoever reads them.

A signature covers the namespace and the whole record: whose result it is, under which fence,
what it says. Who can write to the backend can still remove a record, or put back an older one
of the same task.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, TypeAlias

from stem_core.contracts.signer import Signer
from stem_core.model.codec import encode_record
from stem_core.model.errors import ConfigError, SignatureError, SignatureMissing
from stem_core.model.outcome import Record, State
from stem_core.model.seal import RESULT, UNSIGNED
from stem_core.model.value import replace

__all__ = ["ResultPolicy", "check_results", "sealer", "verifier"]

ResultPolicy: TypeAlias = Literal["off", "accept", "require"]
"""``off``: results are neither signed nor verified. ``accept``: workers sign, and readers
refuse a signature that does not count. ``require``: readers refuse a success that nobody
signed, too."""

_UNSURE: Final = "a result of {id} lies in the backend, and no key vouches for it"


def check_results(policy: ResultPolicy, signer: Signer | None) -> None:
    """Refuse a *policy* that cannot be kept.

    Raises:
        ConfigError: there is no key to verify with.
    """
    if policy != "off" and signer is None:
        raise ConfigError(
            f"STEM_SIGNING_RESULTS is {policy}, and there is no key to verify with",
            way_out="Set STEM_SIGNER_URL or STEM_SIGNING_*; a public key is enough to verify.",
        )


def sealer(
    policy: ResultPolicy, signer: Signer | None, namespace: str
) -> Callable[[Record], Record] | None:
    """Return what signs the records of a worker; None where none are signed.

    Raises:
        ConfigError: readers require a signature, and this worker cannot make one.
    """
    if policy == "off" or signer is None:
        return None
    if not signer.can_sign:
        if policy == "require":
            raise ConfigError(
                "STEM_SIGNING_RESULTS is require, and this worker has no key to sign results with",
                way_out="Give it a private key of its own, whose scope is no queue at all.",
            )
        return None

    def seal(record: Record) -> Record:
        return replace(record, seal=signer.sign(RESULT, _covered(record, namespace)))

    return seal


def verifier(
    policy: ResultPolicy, signer: Signer | None, namespace: str
) -> Callable[[Record], None]:
    """Return what refuses records that nobody vouches for."""

    def check(record: Record) -> None:
        if policy == "off" or signer is None:
            return
        if record.seal.is_empty:
            if policy == "require" and record.state is State.SUCCEEDED:
                raise SignatureMissing(
                    _UNSURE.format(id=record.id),
                    way_out="Set STEM_SIGNING_RESULTS for the workers too.",
                )
            return
        try:
            signer.verify(RESULT, _covered(record, namespace), record.seal)
        except SignatureError as error:
            told = _UNSURE.format(id=record.id)
            raise type(error)(f"{told}: {error.message}", why=error.why) from None

    return check


def _covered(record: Record, namespace: str) -> bytes:
    """Return the bytes that are signed: a name has no line break, so both parts are told apart.

    How long it is kept is not among them: a backend may be told otherwise later.
    """
    return b"%b\n%b" % (namespace.encode(), encode_record(replace(record, seal=UNSIGNED, ttl_ms=0)))

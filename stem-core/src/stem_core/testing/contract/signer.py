"""What every signer promises."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from stem_core.contracts.signer import Signer
from stem_core.model.errors import SignatureError, SignatureInvalid, SignatureMissing
from stem_core.model.seal import CONTROL, RESULT, SCHEDULE, TASK, UNSIGNED, Seal
from stem_core.model.value import replace
from stem_core.testing.contract.promise import signer_promise
from stem_core.testing.contract.staging import OnSigner
from stem_core.testing.contract.values import NASTY

__all__ = ["SignerContract"]

_BODY = b'{"task":"mail.send"}'
_PURPOSES = (TASK, RESULT, CONTROL, SCHEDULE)


class SignerContract(OnSigner):
    """Signatures that vouch for every byte, and errors that help no forger."""

    @signer_promise("SIGN-1")
    def test_what_was_signed_is_verified(self, signer: Signer) -> None:
        for purpose in _PURPOSES:
            for body in (_BODY, *NASTY):
                seal = signer.sign(purpose, body)
                assert not seal.is_empty
                assert seal.key_id == signer.key_ids[0]
                signer.verify(purpose, body, seal)

    @signer_promise("SIGN-1")
    def test_a_signature_covers_the_purpose(self, signer: Signer) -> None:
        seal = signer.sign(TASK, _BODY)
        for purpose in (RESULT, CONTROL, SCHEDULE, TASK + " ", ""):
            refuse(signer, purpose, _BODY, seal)

    @signer_promise("SIGN-1", "VERIFY-1")
    def test_a_signature_covers_every_byte_of_the_body(self, signer: Signer) -> None:
        seal = signer.sign(TASK, _BODY)
        for changed in damaged(_BODY):
            refuse(signer, TASK, changed, seal)

    @signer_promise("SIGN-1", "VERIFY-1")
    def test_a_signature_covers_algorithm_and_key(self, signer: Signer) -> None:
        seal = signer.sign(TASK, _BODY)
        for algorithm in ("none", "", seal.algorithm.upper() + "x"):
            refuse(signer, TASK, _BODY, replace(seal, algorithm=algorithm))
        for key_id in ("unknown", "", seal.key_id + "\0", *signer.key_ids[1:]):
            refuse(signer, TASK, _BODY, replace(seal, key_id=key_id))

    @signer_promise("VERIFY-1")
    def test_a_changed_signature_is_invalid(self, signer: Signer) -> None:
        seal = signer.sign(TASK, _BODY)
        for changed in damaged(seal.signature):
            if changed:
                refuse(signer, TASK, _BODY, replace(seal, signature=changed))

    @signer_promise("VERIFY-1")
    def test_a_part_of_a_signature_is_invalid(self, signer: Signer) -> None:
        seal = signer.sign(TASK, _BODY)
        for length in range(1, len(seal.signature)):
            refuse(signer, TASK, _BODY, replace(seal, signature=seal.signature[:length]))
        refuse(signer, TASK, _BODY, replace(seal, signature=seal.signature * 2))

    @signer_promise("SIGN-1", "VERIFY-1")
    def test_the_signature_of_another_body_is_invalid(self, signer: Signer) -> None:
        other = b'{"task":"mail.delete"}'
        one, two = signer.sign(TASK, _BODY), signer.sign(TASK, other)
        refuse(signer, TASK, _BODY, two)
        refuse(signer, TASK, other, one)
        # What was refused does not harm what is good.
        signer.verify(TASK, _BODY, one)
        signer.verify(TASK, other, two)

    @signer_promise("VERIFY-1")
    def test_names_that_no_store_should_hold_are_invalid_and_nothing_worse(
        self, signer: Signer
    ) -> None:
        seal = signer.sign(TASK, _BODY)
        for text in ("\ud800", "\0", "ü", "x" * 100_000, f" {seal.key_id}"):
            refuse(signer, TASK, _BODY, replace(seal, key_id=text))
            refuse(signer, TASK, _BODY, replace(seal, algorithm=text))

    @signer_promise("VERIFY-1")
    def test_an_empty_seal_is_missing(self, signer: Signer) -> None:
        seal = signer.sign(TASK, _BODY)
        for empty in (UNSIGNED, replace(seal, signature=b"")):
            with pytest.raises(SignatureMissing):
                signer.verify(TASK, _BODY, empty)

    @signer_promise("VERIFY-2")
    def test_the_error_does_not_tell_which_check_failed(self, signer: Signer) -> None:
        seal = signer.sign(TASK, _BODY)
        attempts = [
            (RESULT, _BODY, seal),
            (TASK, _BODY + b" ", seal),
            (TASK, _BODY, replace(seal, key_id="unknown")),
            (TASK, _BODY, replace(seal, algorithm="none")),
            (TASK, _BODY, replace(seal, signature=seal.signature[:-1])),
        ]
        told = {str(refuse(signer, *attempt)) for attempt in attempts}
        assert len(told) == 1
        # A cause or a context would tell what the text does not.
        assert all(refuse(signer, *attempt).__cause__ is None for attempt in attempts)

    @signer_promise("SIGN-2", signs=False)
    def test_without_a_signing_key_it_raises(self, signer: Signer) -> None:
        with pytest.raises(SignatureError):
            signer.sign(TASK, _BODY)


def refuse(signer: Signer, purpose: str, body: bytes, seal: Seal) -> SignatureInvalid:
    """Insist that *seal* does not vouch for *body*; return the error."""
    with pytest.raises(SignatureInvalid) as raised:
        signer.verify(purpose, body, seal)
    return raised.value


def damaged(data: bytes) -> Iterator[bytes]:
    """Yield *data* with each single bit changed, shortened and lengthened."""
    for place in range(len(data)):
        for bit in range(8):
            yield data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]
    yield data[:-1]
    yield data + b"\0"

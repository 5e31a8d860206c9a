"""What a worker asks of signatures, and what it says of it."""

from __future__ import annotations

import pytest
from unit.signing.rings import a_signer, an_entry
from unit.worker.given import a_message

from stem_core.model.errors import ConfigError, SignatureInvalid, SignatureMissing
from stem_core.model.seal import TASK
from stem_core.model.value import replace
from stem_core.producer.vetting import SigningPolicy, caution, policy_of, vet
from stem_core.testing.clock import FakeClock
from stem_core.worker.refusals import Refusals

SIGNER = a_signer(an_entry())


def signed(body: bytes = b"{}"):
    seal = SIGNER.sign(TASK, body)
    return a_message(
        body=body, key_id=seal.key_id, algorithm=seal.algorithm, signature=seal.signature
    )


def test_a_signature_is_required_as_soon_as_there_are_keys() -> None:
    assert policy_of(None, None) == "off"
    assert policy_of(None, SIGNER) == "require"


@pytest.mark.parametrize("policy", ["require", "accept"])
def test_a_policy_that_cannot_be_kept_stops_the_start(policy: SigningPolicy) -> None:
    with pytest.raises(ConfigError, match=f"policy is {policy}, and there is no key"):
        policy_of(policy, None)


def test_a_policy_that_there_is_not_is_refused() -> None:
    with pytest.raises(ConfigError, match="'maybe' is none of off, accept, require"):
        policy_of("maybe", SIGNER)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("policy", "word"), [("require", ""), ("accept", "nobody signed run too"), ("off", "is off")]
)
def test_what_is_weaker_than_required_is_said_at_each_start(
    policy: SigningPolicy, word: str
) -> None:
    told = caution(policy, SIGNER)
    assert word in told
    assert bool(told) is bool(word)
    assert caution(policy, None) == ""


@pytest.mark.parametrize(
    ("policy", "unsigned", "forged"),
    [
        ("require", SignatureMissing, SignatureInvalid),
        (None, SignatureMissing, SignatureInvalid),
        ("accept", None, SignatureInvalid),
        ("off", None, None),
    ],
)
def test_a_policy_decides_what_runs(policy, unsigned, forged) -> None:
    assert vet(SIGNER, policy, signed()) is (policy != "off")
    for message, error in (
        (a_message(), unsigned),
        (replace(signed(), body=b"[]"), forged),
    ):
        if error is None:
            assert not vet(SIGNER, policy, message)
        else:
            with pytest.raises(error):
                vet(SIGNER, policy, message)


# ── the log ──────────────────────────────────────────────────────────────────


def test_a_flood_makes_one_line_a_second_for_each_reason(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = FakeClock()
    refusals = Refusals(clock)
    for _ in range(500):
        refusals.note(SignatureInvalid("no", why="wrong-signature"), a_message())
        refusals.note(SignatureMissing("no"), a_message())
    assert len(caplog.messages) == 2
    clock.advance("1s")
    refusals.note(SignatureInvalid("no", why="wrong-signature"), a_message(key_id="k"))
    assert len(caplog.messages) == 3
    assert "(wrong-signature)" in caplog.messages[2]
    assert "499 more" in caplog.messages[2]


def test_a_stranger_cannot_write_lines_of_his_own_into_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    evil = "x\nERROR all is lost\x1b[2J" + "y" * 10_000
    Refusals(FakeClock()).note(SignatureInvalid("no"), a_message(task=evil, key_id=evil))
    [line] = caplog.messages
    assert "\n" not in line
    assert "\x1b" not in line
    assert len(line) < 1000


def test_reasons_without_end_do_not_make_lines_without_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    refusals = Refusals(FakeClock())
    for number in range(1000):
        refusals.note(SignatureInvalid("no", why=f"because {number}"), a_message())
    assert len(caplog.messages) <= 33

"""The signer signs and verifies with the keys of now."""

from __future__ import annotations

import hmac
import logging
from pathlib import Path

import pytest
from unit.signing.rings import OTHER, SECRET, Given, a_signer, an_entry

from stem_core.model.errors import ConfigError, SignatureError, SignatureInvalid
from stem_core.model.seal import CONTROL, RESULT, TASK, Seal
from stem_core.model.value import replace
from stem_core.testing.clock import FakeClock
from stem_signing.files import write_key_file
from stem_signing.keyring import State
from stem_signing.ringfile import RingFile, written
from stem_signing.signer import KeyringSigner
from stem_signing.sources import KeyFile

BODY = b'{"task":"mail.send"}'


def why(signer: KeyringSigner, seal: Seal, *, purpose: str = TASK, body: bytes = BODY) -> str:
    with pytest.raises(SignatureInvalid) as caught:
        signer.verify(purpose, body, seal)
    assert str(caught.value) == "the signature does not vouch for this"
    return caught.value.why


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"key_id": "nobody"}, "unknown-key"),
        ({"key_id": "two"}, "another-algorithm"),
        ({"algorithm": "hmac-sha256"}, "another-algorithm"),
        ({"algorithm": ""}, "another-algorithm"),
        ({"signature": b"x"}, "wrong-signature"),
        ({"signature": bytes(64)}, "wrong-signature"),
    ],
)
def test_who_verifies_can_tell_why_and_who_sent_it_cannot(change: dict, expected: str) -> None:
    signer = a_signer(an_entry("one"), an_entry("two", "secret", OTHER), active="one")
    assert why(signer, replace(signer.sign(TASK, BODY), **change)) == expected


def test_what_is_signed_is_what_the_page_says() -> None:
    """Spelled out by hand: others must be able to make and check these signatures."""
    text = (
        b"STEMv1\0\0\0\x0cstem.task.v1\0\0\0\x0bhmac-sha256\0\0\0\x03one\0\0\0\0\0\0\0\x14" + BODY
    )
    seal = a_signer(an_entry("one", "secret")).sign(TASK, BODY)
    assert seal == Seal("hmac-sha256", "one", hmac.new(SECRET, text, "sha256").digest())


def test_a_signature_for_one_purpose_fits_no_other() -> None:
    signer = a_signer(an_entry())
    for purpose in (RESULT, CONTROL):
        assert why(signer, signer.sign(purpose, BODY)) == "wrong-signature"


def test_one_secret_under_another_id_makes_other_signatures() -> None:
    """The id of the key is signed too, so that a revoked id cannot live on as another."""
    one, two = a_signer(an_entry("one", "secret")), a_signer(an_entry("two", "secret"))
    assert why(two, replace(one.sign(TASK, BODY), key_id="two")) == "wrong-signature"


def test_who_has_no_private_key_says_so_when_asked_to_sign() -> None:
    signer = a_signer(an_entry("one", "public"))
    assert not signer.can_sign
    with pytest.raises(SignatureError, match="no key to sign with"):
        signer.sign(TASK, BODY)


# ── time ─────────────────────────────────────────────────────────────────────


def test_a_key_signs_and_verifies_within_its_time_only() -> None:
    clock = FakeClock()
    now_ms = clock.wall_ms()
    entry = an_entry(valid_from_ms=now_ms + 1000, valid_until_ms=now_ms + 2000)
    signer = a_signer(entry, clock=clock)
    with pytest.raises(SignatureError, match="one is not valid yet"):
        signer.sign(TASK, BODY)
    clock.advance("1s")
    seal = signer.sign(TASK, BODY)
    signer.verify(TASK, BODY, seal)
    clock.advance("1s")
    assert why(signer, seal) == "key-expired"
    with pytest.raises(SignatureError, match="one is not valid any more"):
        signer.sign(TASK, BODY)


# ── keys that change ─────────────────────────────────────────────────────────


def test_a_change_is_noticed_within_a_second() -> None:
    clock = FakeClock()
    source = Given([an_entry("one")])
    signer = KeyringSigner(source, clock=clock)
    old = signer.sign(TASK, BODY)
    source.becomes(an_entry("two", data=OTHER), an_entry("one", state=State.REVOKED))
    assert signer.sign(TASK, BODY).key_id == "one"
    clock.advance("1s")
    assert signer.sign(TASK, BODY).key_id == "two"
    assert why(signer, old) == "revoked-key"
    assert source.reads == 2


def test_a_key_that_nobody_knows_is_looked_for_at_once() -> None:
    """So that a producer may sign with a new key the moment that it is in the file."""
    clock = FakeClock()
    source = Given([an_entry("one")])
    signer = KeyringSigner(source, clock=clock)
    source.becomes(an_entry("one", state=State.REVOKED), an_entry("two", data=OTHER))
    newer = a_signer(an_entry("two", data=OTHER))
    signer.verify(TASK, BODY, newer.sign(TASK, BODY))


def test_strangers_do_not_make_it_read_the_keys_again_and_again() -> None:
    source = Given([an_entry("one")])
    signer = KeyringSigner(source, clock=FakeClock())
    seal = signer.sign(TASK, BODY)
    for number in range(100):
        assert why(signer, replace(seal, key_id=f"k{number}")) == "unknown-key"
    assert source.reads == 1


def test_keys_that_cannot_be_used_leave_the_old_ones_in_use(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = FakeClock()
    source = Given([an_entry("one")])
    signer = KeyringSigner(source, clock=clock)
    source.fault, source.version = "half a file", 2
    for _ in range(3):
        clock.advance("2s")
        signer.verify(TASK, BODY, signer.sign(TASK, BODY))
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "half a file" in caplog.text
    with pytest.raises(ConfigError, match="half a file"):
        signer.reload()


def test_reload_reads_the_keys_whatever_the_time_is() -> None:
    source = Given([an_entry("one")])
    signer = KeyringSigner(source, clock=FakeClock())
    source.becomes(an_entry("two", data=OTHER))
    signer.reload()
    assert signer.key_ids == ("two",)


def test_a_file_that_is_replaced_is_read_again(tmp_path: Path) -> None:
    path, clock = tmp_path / "keys.toml", FakeClock()
    write_key_file(path, written(RingFile((an_entry("one"),))), is_new=True)
    assert path.stat().st_mode & 0o777 == 0o600
    signer = KeyringSigner(KeyFile(path=path, algorithm="ed25519"), clock=clock)
    two = an_entry("two", data=OTHER)
    write_key_file(path, written(RingFile((an_entry("one"), two), "two")), is_new=False)
    clock.advance("1s")
    assert signer.sign(TASK, BODY).key_id == "two"
    path.unlink()
    clock.advance("1s")
    assert signer.sign(TASK, BODY).key_id == "two"


def test_a_key_file_is_never_made_over_one_that_is_there(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    path.write_text("precious")
    with pytest.raises(ConfigError, match="is there already"):
        write_key_file(path, "new", is_new=True)
    assert path.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [path]


# ── scope ────────────────────────────────────────────────────────────────────


def test_a_key_is_held_to_its_scope() -> None:
    signer = a_signer(an_entry(queues=("billing",), tasks=("billing.*",)))
    signer.check_scope("one", task="billing.charge", queue="billing")
    for task, queue in [("mail.send", "billing"), ("billing.charge", "mail")]:
        with pytest.raises(SignatureInvalid) as caught:
            signer.check_scope("one", task=task, queue=queue)
        assert caught.value.why == "outside-the-scope-of-its-key"


def test_secrets_show_nowhere() -> None:
    signer = a_signer(an_entry("one", "secret"))
    assert SECRET.hex() not in repr((signer, signer.ring, signer.ring.active))
    assert repr(SECRET)[2:20] not in repr((signer.ring.active, vars(signer)))

"""Keys from variables and from files: whole, or an error that names what is wrong."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from unit.signing.rings import OTHER, SECRET, a_key

from stem_core.model.errors import ConfigError, StemError
from stem_core.plugin import PluginContext, StemURL
from stem_signing.factory import SigningFactory, source_of
from stem_signing.keyring import Keyring
from stem_signing.keys import Algorithm
from stem_signing.options import SigningOptions
from stem_signing.sources import KeyFile, Variables

B64 = base64.b64encode(SECRET).decode()
B64_OTHER = base64.b64encode(OTHER).decode()
PUBLIC = base64.b64encode(a_key("public").reveal()).decode()


def variables(
    algorithm: Algorithm = "hmac-sha256", *, report=lambda _: None, strict=False, **given: str
) -> Keyring:
    environment = {f"STEM_SIGNING_{name}": text for name, text in given.items()}
    source = Variables(environment=environment, algorithm=algorithm, report=report, strict=strict)
    return source.read()


def test_variables_hold_keys_of_both_algorithms() -> None:
    ring = variables(KEYS=f"a:{B64},b:{B64_OTHER}", ACTIVE_KEY="b")
    assert ring.key_ids == ("b", "a")
    ring = variables("ed25519", PRIVATE_KEYS=f"b:{B64_OTHER}", PUBLIC_KEYS=f"a:{PUBLIC}")
    assert ring.key_ids == ("b", "a")


def test_a_pair_may_be_listed_with_both_its_halves() -> None:
    ring = variables("ed25519", PRIVATE_KEYS=f"a:{B64}", PUBLIC_KEYS=f"a:{PUBLIC}")
    assert ring.active is not None
    assert ring.key_ids == ("a",)


@pytest.mark.parametrize(
    ("algorithm", "given", "why"),
    [
        ("hmac-sha256", {}, "STEM_SIGNING_KEYS is not set"),
        ("ed25519", {}, "STEM_SIGNING_PRIVATE_KEYS is not set"),
        ("hmac-sha256", {"KEYS": "v1:####"}, "STEM_SIGNING_KEYS: entry 1: the key is not base64"),
        ("hmac-sha256", {"KEYS": "v1:"}, "entry 1: the key is empty"),
        ("hmac-sha256", {"KEYS": f"v1:{B64[:-1]}"}, "entry 1: the key is not base64"),
        ("hmac-sha256", {"KEYS": B64}, "entry 1: expected id:base64"),
        ("hmac-sha256", {"KEYS": f"a:{B64},a:{B64_OTHER}"}, "entry 2: its id was there before"),
        ("hmac-sha256", {"KEYS": f"a:{B64},b:{B64}"}, "one key under several ids"),
        ("hmac-sha256", {"KEYS": f"a:{B64},b:{B64_OTHER}"}, "several keys can sign"),
        ("hmac-sha256", {"KEYS": f"a:{B64}", "ACTIVE_KEY": "b"}, "b is not in the list"),
        ("hmac-sha256", {"KEYS": "a:c2hvcnQ="}, "key a: the key has 5 bytes, and at least 32"),
        ("hmac-sha256", {"PUBLIC_KEYS": f"a:{PUBLIC}"}, "keys of a are not of hmac-sha256"),
        ("ed25519", {"PUBLIC_KEYS": f"a:{PUBLIC}", "ACTIVE_KEY": "a"}, "a is a public key"),
        (
            "ed25519",
            {"PUBLIC_KEYS": f"a:{PUBLIC}", "PRIVATE_KEYS": f"a:{PUBLIC}"},
            "the private key is the public one written again",
        ),
        (
            "ed25519",
            {"PUBLIC_KEYS": f"a:{PUBLIC}", "PRIVATE_KEYS": f"a:{B64_OTHER}"},
            "do not belong together",
        ),
        ("ed25519", {"PRIVATE_KEYS": "a:c2hvcnQ="}, "has 5 bytes, and a private key of ed25519"),
        ("ed25519", {"KEYS": f"a:{B64}", "PRIVATE_KEYS": f"a:{B64}"}, "a is given twice"),
        ("hmac-sha256", {"KEYS_FILE": "/", "KEYS": "a:b"}, "are both set"),
        ("hmac-sha256", {"KEYS_FILE": "/"}, "STEM_SIGNING_KEYS_FILE: '/' is a folder"),
        ("hmac-sha256", {"KEYS_FILE": "/nowhere/k"}, "cannot be read: No such file"),
    ],
)
def test_an_incomplete_configuration_is_an_error_of_its_own(
    algorithm: Algorithm, given: dict[str, str], why: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        variables(algorithm, **given)
    assert why in str(caught.value)
    assert B64[:8] not in str(caught.value)


def test_a_list_in_a_file_has_one_key_a_line(tmp_path: Path) -> None:
    file = key_file(tmp_path, f"a:{B64}\n\n b:{B64_OTHER}\n")
    assert variables(KEYS_FILE=str(file), ACTIVE_KEY="a").key_ids == ("a", "b")


@pytest.mark.parametrize(
    ("mode", "who"), [(0o640, "its group"), (0o604, "everybody"), (0o666, "everybody")]
)
def test_a_secret_file_that_others_may_open_is_reported_or_refused(
    tmp_path: Path, mode: int, who: str
) -> None:
    file = key_file(tmp_path, f"a:{B64}", mode)
    told: list[str] = []
    variables(KEYS_FILE=str(file), report=told.append)
    assert len(told) == 1
    assert f"{who} may open it (mode {mode:o})" in told[0]
    with pytest.raises(ConfigError, match=who):
        variables(KEYS_FILE=str(file), strict=True)


def test_a_private_file_and_one_of_public_keys_are_nothing_to_talk_about(tmp_path: Path) -> None:
    told: list[str] = []
    secret = key_file(tmp_path, f"a:{B64}", 0o600)
    variables(KEYS_FILE=str(secret), report=told.append, strict=True)
    public = key_file(tmp_path, f"a:{PUBLIC}", 0o644)
    variables("ed25519", PUBLIC_KEYS_FILE=str(public), report=told.append, strict=True)
    ring = key_file(tmp_path, f'[keys.a]\npublic = "{PUBLIC}"', 0o644)
    KeyFile(path=ring, algorithm="ed25519", strict=True, report=told.append).read()
    assert told == []


def test_a_key_file_that_is_not_there_names_the_command_that_makes_one(tmp_path: Path) -> None:
    absent = tmp_path / "keys.toml"
    with pytest.raises(ConfigError) as caught:
        KeyFile(path=absent, algorithm="ed25519").read()
    assert caught.value.way_out == f"stem keys generate {absent} makes one."


def key_file(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "keys"
    path.write_text(text)
    path.chmod(mode)
    return path


# ── URLs ─────────────────────────────────────────────────────────────────────


def opened(text: str, environment: dict[str, str] | None = None):
    url = StemURL.parse(text)
    context = PluginContext(role="signer", environment=environment or {})
    options = SigningOptions(**dict(url.query))
    return SigningFactory.open(url, options, context)


@pytest.mark.parametrize("url", ["hmac-sha256://", "hmac-sha256+env://"])
def test_without_a_name_the_variables_are_those_of_stem(url: str) -> None:
    assert opened(url, {"STEM_SIGNING_KEYS": f"a:{B64}"}).key_ids == ("a",)


def test_variables_may_begin_with_a_name_of_their_own() -> None:
    environment = {"SHOP_PRIVATE_KEYS": f"a:{B64},b:{B64_OTHER}", "SHOP_ACTIVE_KEY": "a"}
    assert opened("ed25519+env://SHOP", environment).key_ids == ("a", "b")
    assert opened("ed25519+env://SHOP?active=b", environment).key_ids == ("b", "a")


def test_a_url_names_a_key_file(tmp_path: Path) -> None:
    file = key_file(tmp_path, f'[keys.a]\nsecret = "{B64}"')
    signer = opened(f"hmac-sha256+file://{file}")
    assert signer.key_ids == ("a",)
    assert signer.can_sign
    public = key_file(tmp_path, f'[keys.a]\npublic = "{PUBLIC}"')
    assert not opened(f"ed25519+file://{public}").can_sign


@pytest.mark.parametrize(
    ("url", "why"),
    [
        (f"hmac-sha256://{'c' * 30}", "a key does not belong into a URL"),
        ("hmac-sha256+file://relative/keys", "expected the absolute path"),
        ("hmac-sha256+file://", "expected the absolute path"),
        ("hmac-sha256+file:///", "expected the absolute path"),
        ("hmac-sha256+file:///tmp", "is a folder"),
        ("hmac-sha256+env://SHOP:7", "expected what the variables begin with"),
        ("hmac-sha256+env://SHOP/path", "expected what the variables begin with"),
        ("hmac-sha256+env://SHOP", "SHOP_KEYS is not set"),
        ("ed25519+env://u:p@SHOP", "means nothing"),
    ],
)
def test_a_url_that_names_no_keys_is_refused(url: str, why: str) -> None:
    with pytest.raises(StemError) as caught:
        opened(url)
    assert why in str(caught.value)
    assert "cccc" not in str(caught.value)


def test_the_key_that_signs_must_be_of_the_scheme(tmp_path: Path) -> None:
    file = key_file(tmp_path, f'active = "a"\n[keys.a]\nsecret = "{B64}"')
    with pytest.raises(ConfigError, match="a is of hmac-sha256, not ed25519"):
        opened(f"ed25519+file://{file}")


def test_what_is_watched_are_the_files_that_are_named(tmp_path: Path) -> None:
    file = key_file(tmp_path, f"a:{B64}")
    url = StemURL.parse("hmac-sha256+env://")
    context = PluginContext(environment={"STEM_SIGNING_KEYS_FILE": str(file)})
    source = source_of(url, SigningOptions(), context)
    before = source.stamps()
    assert len(before) == 1
    file.write_text(f"a:{B64}\nb:{B64_OTHER}\n")
    assert source.stamps() != before

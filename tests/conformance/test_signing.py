"""The signers of stem-signing, and the one of the example, keep every promise."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from unit.signing.rings import OTHER, SECRET, a_signer, an_entry

from stem_core.contracts.signer import Signer
from stem_core.discovery.host import PluginHost
from stem_core.model.errors import ConfigError
from stem_core.plugin import PluginContext, StemURL
from stem_core.testing import SignerContract
from stem_signing.keys import Kind

EXAMPLE = Path(__file__).parents[2] / "examples" / "kms_signer" / "src"


def ring_of(kind: Kind, other: Kind) -> Callable[[], Signer]:
    """A signer with a key that it signs with, if it can, and another one."""
    entries = [an_entry("one", kind), an_entry("two", other, OTHER)]
    return lambda: a_signer(*entries, active="" if kind == "public" else "one")


class TestHmac(SignerContract):
    @pytest.fixture
    def stem_signer(self) -> object:
        return ring_of("secret", "secret")


class TestEd25519(SignerContract):
    @pytest.fixture
    def stem_signer(self) -> object:
        return ring_of("private", "public")

    @pytest.fixture
    def stem_verifier(self) -> object:
        return ring_of("public", "public")


class TestTwoAlgorithmsInOneRing(SignerContract):
    @pytest.fixture
    def stem_signer(self) -> object:
        return ring_of("private", "secret")


# ── the example ──────────────────────────────────────────────────────────────


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Keys of the example's service, whose code can be imported meanwhile."""
    for name, data in (("orders-1", SECRET), ("orders-2", OTHER)):
        (tmp_path / f"{name}.key").write_bytes(data)
    monkeypatch.syspath_prepend(str(EXAMPLE))
    yield tmp_path
    for name in [each for each in sys.modules if each.startswith("kms_signer")]:
        del sys.modules[name]


def opened(url: str) -> Signer:
    from importlib import import_module

    host = PluginHost(entry_points=lambda group: [])
    host.register(import_module("kms_signer.plugin"))
    signer = host.open_signer(StemURL.parse(url), PluginContext(role="signer"))
    assert signer is not None
    return signer


class TestTheExample(SignerContract):
    @pytest.fixture
    def stem_signer(self, keys: Path) -> object:
        return lambda: opened(f"filekms://{keys}?key=orders-1")

    @pytest.fixture
    def stem_verifier(self, keys: Path) -> object:
        return lambda: opened(f"filekms://{keys}")


@pytest.mark.parametrize(
    ("query", "why"), [("key=nobody", "there is no key 'nobody'"), ("kee=a", "kee")]
)
def test_the_example_refuses_what_cannot_be_meant(keys: Path, query: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        opened(f"filekms://{keys}?{query}")


def test_the_example_needs_no_name_beside_those_that_are_promised() -> None:
    for path in EXAMPLE.rglob("*.py"):
        ours = [line for line in path.read_text("utf-8").splitlines() if "stem_core" in line]
        assert all(line.startswith("from stem_core.plugin import") for line in ours), path

"""The signer of ``--stem-signer-url``, with the one of ``--stem-verifier-url`` if it is given."""

from __future__ import annotations

import pytest

from stem_core.testing.conformance.targets import Targets
from stem_core.testing.contract.signer import SignerContract


class TestSigner(SignerContract):
    """Everything that the signer promises."""

    @pytest.fixture
    def stem_signer(self, request: pytest.FixtureRequest) -> object:
        """The URL that was given."""
        return Targets.of(request.config).signer

    @pytest.fixture
    def stem_verifier(self, request: pytest.FixtureRequest) -> object:
        """The URL that was given beside it; empty for none."""
        return str(request.config.getoption("--stem-verifier-url"))

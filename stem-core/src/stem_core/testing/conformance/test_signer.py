"""The signer of ``--stem-signer-url``."""

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

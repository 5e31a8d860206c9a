"""The broker of ``--stem-broker-url``, while processes that use it are killed and frozen."""

from __future__ import annotations

import pytest

from stem_core.testing.conformance.targets import Targets
from stem_core.testing.contract.chaos import ChaosContract


class TestChaos(ChaosContract):
    """Brokers that processes share."""

    @pytest.fixture
    def stem_broker(self, request: pytest.FixtureRequest) -> object:
        """The URL that was given."""
        self.backend_url = str(request.config.getoption("--stem-backend-url"))
        self.seed = request.config.getoption("--stem-seed") or 0
        return Targets.of(request.config).broker

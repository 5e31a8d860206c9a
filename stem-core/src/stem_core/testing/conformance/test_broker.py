"""The broker of ``--stem-broker-url``."""

from __future__ import annotations

import pytest

from stem_core.testing.conformance.targets import Targets
from stem_core.testing.contract.broker import BrokerContract


class TestBroker(BrokerContract):
    """Everything that the broker declares."""

    @pytest.fixture
    def stem_broker(self, request: pytest.FixtureRequest) -> object:
        """The URL that was given."""
        self.backend_url = str(request.config.getoption("--stem-backend-url"))
        return Targets.of(request.config).broker

"""The result backend of ``--stem-backend-url``, or the broker's own."""

from __future__ import annotations

import pytest

from stem_core.testing.conformance.targets import Targets
from stem_core.testing.contract.results import ResultBackendContract


class TestBackend(ResultBackendContract):
    """Everything that the backend declares."""

    @pytest.fixture
    def stem_backend(self, request: pytest.FixtureRequest) -> object:
        """The URL that was given."""
        return Targets.of(request.config).backend

"""The store keeps its promises: every test of Stem's kit, but those for what is not claimed."""

from __future__ import annotations

from functools import partial

import pytest
from stages import open_stage

from stem_core.testing import BrokerContract, ChaosContract, ResultBackendContract


class TestNats(BrokerContract):
    claims = frozenset(
        {"delay", "priority", "dedupe", "cancel", "pause", "dead_letters", "atomic_results"}
    )

    @pytest.fixture
    def stem_broker(self, nats_url: str) -> object:
        return partial(open_stage, nats_url)


class TestNatsWhenProcessesDie(ChaosContract):
    @pytest.fixture
    def stem_broker(self, nats_url: str) -> str:
        return nats_url


class TestNatsResults(ResultBackendContract):
    claims = frozenset({"push", "listing", "progress"})

    @pytest.fixture
    def stem_backend(self, nats_url: str) -> str:
        return nats_url

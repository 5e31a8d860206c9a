"""The signer keeps every promise that Stem's own signers keep."""

from __future__ import annotations

from pathlib import Path

import pytest
from kms_signer.service import Service
from kms_signer.signer import KmsSigner

from stem_core.testing import SignerContract


class TestKmsSigner(SignerContract):
    @pytest.fixture
    def service(self, tmp_path: Path) -> Service:
        for number in (1, 2):
            (tmp_path / f"orders-{number}.key").write_bytes(bytes(range(number, number + 32)))
        return Service(tmp_path)

    @pytest.fixture
    def stem_signer(self, service: Service) -> object:
        return lambda: KmsSigner(service, "orders-1")

    @pytest.fixture
    def stem_verifier(self, service: Service) -> object:
        return lambda: KmsSigner(service)

"""The URLs that were given on the command line of pytest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import pytest
from attrs import frozen

from stem_core.model.errors import StemError
from stem_core.testing.contract.opening import backend_beside

__all__ = ["FIXTURES", "Targets"]

FIXTURES: Final[Mapping[str, str]] = {
    "broker": "stem_broker",
    "backend": "stem_backend",
    "signer": "stem_signer",
}
"""What is proven, and the fixture of its contract."""


@frozen
class Targets:
    """What is to be proven; an empty URL leaves its contract out."""

    broker: str
    backend: str
    signer: str

    @classmethod
    def of(cls, config: pytest.Config) -> Targets:
        """Return what *config* was told; without a backend the broker's own."""
        broker, backend, signer = (str(config.getoption(f"--stem-{kind}-url")) for kind in FIXTURES)
        return cls(broker, backend or (_own_backend(broker) if broker else ""), signer)

    def __bool__(self) -> bool:
        return bool(self.broker or self.backend or self.signer)


def _own_backend(broker: str) -> str:
    try:
        return backend_beside(broker)
    except StemError:
        return ""  # a URL that cannot be read is told of where it is opened

"""`ResultBackendContract`: all that a result backend can promise, in one class."""

from __future__ import annotations

from stem_core.testing.contract.backend import RecordContract
from stem_core.testing.contract.companions import CompanionContract
from stem_core.testing.contract.declared import BackendDeclaration
from stem_core.testing.contract.processes import BackendProcessContract

__all__ = ["ResultBackendContract"]


class ResultBackendContract(
    BackendDeclaration, RecordContract, BackendProcessContract, CompanionContract
):
    """Proves a result backend and its companions::

        class TestSpoolResults(ResultBackendContract):
            url = "spool:///tmp/spool"

    Instead of `url` the fixture `stem_backend` may give a URL or a factory; see `OnBackend`.
    """

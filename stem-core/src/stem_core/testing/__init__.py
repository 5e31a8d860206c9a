"""Tools for tests, of your own tasks and of brokers of your own. No room imports this one.

Importing it imports nothing of weight: each name is fetched when it is asked for. The
contracts need pytest and `run_model` needs Hypothesis: ``pip install "stem-core[testing]"``
brings both.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from stem_core.testing.clock import FakeClock, LoadedDice
    from stem_core.testing.contract.admin import AdminContract
    from stem_core.testing.contract.broker import BrokerContract
    from stem_core.testing.contract.chaos import ChaosContract
    from stem_core.testing.contract.companions import CompanionContract
    from stem_core.testing.contract.control import ControlContract
    from stem_core.testing.contract.limits import LimitContract
    from stem_core.testing.contract.results import ResultBackendContract
    from stem_core.testing.contract.signer import SignerContract
    from stem_core.testing.contract.stage import Address, Stage
    from stem_core.testing.drain import Drain, StemWorker
    from stem_core.testing.faults import FaultProxy, FaultyBroker, History
    from stem_core.testing.model.machine import run_model
    from stem_core.testing.outbox import StemOutbox

__all__ = [
    "Address",
    "AdminContract",
    "BrokerContract",
    "ChaosContract",
    "CompanionContract",
    "ControlContract",
    "Drain",
    "FakeClock",
    "FaultProxy",
    "FaultyBroker",
    "History",
    "LimitContract",
    "LoadedDice",
    "ResultBackendContract",
    "SignerContract",
    "Stage",
    "StemOutbox",
    "StemWorker",
    "run_model",
]

_WHERE: Final = {
    "Address": "contract.stage",
    "AdminContract": "contract.admin",
    "BrokerContract": "contract.broker",
    "ChaosContract": "contract.chaos",
    "CompanionContract": "contract.companions",
    "ControlContract": "contract.control",
    "Drain": "drain",
    "FakeClock": "clock",
    "FaultProxy": "faults",
    "FaultyBroker": "faults",
    "History": "faults",
    "LimitContract": "contract.limits",
    "LoadedDice": "clock",
    "ResultBackendContract": "contract.results",
    "SignerContract": "contract.signer",
    "Stage": "contract.stage",
    "StemOutbox": "outbox",
    "StemWorker": "drain",
    "run_model": "model.machine",
}


def __getattr__(name: str) -> Any:
    """Fetch *name* from its module on first use."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)

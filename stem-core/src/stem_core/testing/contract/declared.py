"""What a broker or a backend declares must be what it has, and what its author says of it."""

from __future__ import annotations

from stem_core.contracts.broker import TransactionalBroker
from stem_core.contracts.capabilities import Support
from stem_core.testing.contract.claims import declared, lacking
from stem_core.testing.contract.misuse import Misuse
from stem_core.testing.contract.promise import backend_promise, promise
from stem_core.testing.contract.stage import Stage
from stem_core.testing.contract.staging import OnBackend, OnBroker, check_claims

__all__ = ["BackendDeclaration", "BrokerDeclaration"]


class BrokerDeclaration(OnBroker):
    """Capabilities, companions and claims agree."""

    @promise()
    async def test_what_it_declares_is_what_it_has(self, stage: Stage) -> None:
        broker = stage.broker
        if why := lacking(broker, declared(broker.capabilities)):
            raise Misuse(why)
        silent = isinstance(broker, TransactionalBroker)
        if silent and broker.capabilities.transactional is Support.ABSENT:
            raise Misuse(
                f"{type(broker).__name__} is a TransactionalBroker and declares "
                "transactional=Support.ABSENT: declare what it can do"
            )

    @promise()
    async def test_what_it_declares_is_what_the_class_claims(self, stage: Stage) -> None:
        check_claims(self, stage.broker)


class BackendDeclaration(OnBackend):
    """Capabilities and claims agree."""

    @backend_promise()
    async def test_what_it_declares_is_what_the_class_claims(self, stage: Stage) -> None:
        check_claims(self, stage.results)

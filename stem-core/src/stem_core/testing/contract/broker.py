"""`BrokerContract`: all that a broker can promise, in one class.

Rule of this module: it composes. Each part is a class of its own and can be run alone.
"""

from __future__ import annotations

from stem_core.testing.contract.admin import AdminContract
from stem_core.testing.contract.cancel import CancelContract
from stem_core.testing.contract.control import ControlContract
from stem_core.testing.contract.declared import BrokerDeclaration
from stem_core.testing.contract.extend import ExtendContract
from stem_core.testing.contract.fetch import FetchContract
from stem_core.testing.contract.handles import HandleContract
from stem_core.testing.contract.limits import LimitContract
from stem_core.testing.contract.load import LoadContract
from stem_core.testing.contract.outcomes import OutcomeContract
from stem_core.testing.contract.processes import BrokerProcessContract
from stem_core.testing.contract.publish import PublishContract
from stem_core.testing.contract.replies import ReplyContract
from stem_core.testing.contract.settle import SettleContract
from stem_core.testing.contract.timing import TimingContract
from stem_core.testing.contract.transaction import TransactionContract
from stem_core.testing.contract.verbs import VerbContract

__all__ = ["BrokerContract"]


class BrokerContract(
    BrokerDeclaration,
    VerbContract,
    PublishContract,
    FetchContract,
    ExtendContract,
    SettleContract,
    OutcomeContract,
    CancelContract,
    HandleContract,
    LoadContract,
    ReplyContract,
    TimingContract,
    BrokerProcessContract,
    AdminContract,
    ControlContract,
    LimitContract,
    TransactionContract,
):
    """Proves a broker, its companions and what it declares::

        class TestSpool(BrokerContract):
            url = "spool:///tmp/spool"

    Instead of `url` the fixture `stem_broker` may give a URL or a factory; see `OnBroker`.
    What the broker does not declare is skipped as "not claimed". `admin`, `control` and
    `limits` are proven when it offers them.
    """

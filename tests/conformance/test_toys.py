"""The parts of the kit that no store of this repository reaches: right toys pass, broken ones
are caught."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from conformance.toys import Cuttable, ToySigner, ToyTransactions

from stem_core.model.errors import SignatureError
from stem_core.testing import ControlContract, SignerContract, Stage
from stem_core.testing.contract.transaction import TransactionContract

_numbers = itertools.count()


class TestSigner(SignerContract):
    @pytest.fixture
    def stem_signer(self) -> object:
        return ToySigner

    @pytest.fixture
    def stem_verifier(self) -> object:
        return lambda: ToySigner(can_sign=False)


class TestTransactions(TransactionContract):
    def transaction(self, broker: Any) -> Any:
        return broker.transaction()

    def transaction_sync(self, broker: Any) -> Any:
        return broker.transaction_sync()

    @pytest.fixture
    def stem_broker(self) -> object:
        return ToyTransactions.fresh


def cuttable(comes_back: bool) -> Callable[[], Awaitable[Stage]]:
    async def open_stage() -> Stage:
        broker = Cuttable(f"cuttable-{next(_numbers)}")
        broker.comes_back = comes_back

        async def cut() -> None:
            broker.cuts += 1

        return Stage(broker, cut=cut)

    return open_stage


class TestControl(ControlContract):
    @pytest.fixture
    def stem_broker(self) -> object:
        return cuttable(comes_back=True)


@pytest.mark.parametrize(
    ("bug", "test"),
    [
        ("purpose not covered", "test_a_signature_covers_the_purpose"),
        ("end of body not covered", "test_a_signature_covers_every_byte_of_the_body"),
        ("any algorithm", "test_a_signature_covers_algorithm_and_key"),
        ("any key", "test_a_signature_covers_algorithm_and_key"),
        ("prefix", "test_a_changed_signature_is_invalid"),
        ("empty is invalid", "test_an_empty_seal_is_missing"),
        ("tells which check", "test_the_error_does_not_tell_which_check_failed"),
        ("signs without a key", "test_without_a_signing_key_it_raises"),
    ],
)
def test_a_signer_with_a_bug_is_caught(bug: str, test: str) -> None:
    signs = test != "test_without_a_signing_key_it_raises"
    prove = getattr(SignerContract(), test)
    with pytest.raises((AssertionError, pytest.fail.Exception, SignatureError)):
        prove(lambda: ToySigner(bug, can_sign=signs), lambda: ToySigner(bug, can_sign=False))
    prove(lambda: ToySigner(can_sign=signs), lambda: ToySigner(can_sign=False))


@pytest.mark.parametrize(
    ("bug", "test"),
    [
        ("publishes at once", "test_nothing_is_visible_before_the_commit"),
        ("publishes at once", "test_nothing_exists_after_a_rollback"),
        ("publishes at once", "test_each_call_leaves_the_transaction_open"),
        ("publishes at once", "test_a_blocking_connection_does_the_same"),
        ("settles at once", "test_nothing_exists_after_a_rollback"),
        ("forgets to commit", "test_a_settlement_takes_effect_with_the_commit"),
        ("accepts anything", "test_each_call_leaves_the_transaction_open"),
        (
            "what is locked is lost",
            "test_a_message_that_an_open_transaction_locks_counts_as_held",
        ),
    ],
)
def test_a_transaction_with_a_bug_is_caught(bug: str, test: str) -> None:
    with pytest.raises(AssertionError):
        getattr(TestTransactions(), test)(lambda: ToyTransactions.fresh(bug))


def test_a_listener_that_a_cut_ends_is_caught() -> None:
    with pytest.raises(AssertionError):
        ControlContract().test_a_listener_outlives_its_connection(cuttable(comes_back=False))

"""The kit itself: it covers every promise, and what an author gets wrong is one sentence."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from stem_core.cli import verdicts
from stem_core.testing import (
    BrokerContract,
    ChaosContract,
    ResultBackendContract,
    SignerContract,
)
from stem_core.testing.contract.claims import LEVELS
from stem_core.testing.contract.promise import promises_of, sentences, terms_of

pytest_plugins = ["pytester"]

CONTRACTS = (BrokerContract, ResultBackendContract, SignerContract)


# ── promises and tests ───────────────────────────────────────────────────────


def test_every_promise_of_the_contracts_has_a_test_of_its_id() -> None:
    assert promises_of(*CONTRACTS) == set(sentences())


def test_the_promises_that_hold_under_kills_are_those_of_the_contracts() -> None:
    assert promises_of(ChaosContract) < set(sentences())


def test_a_promise_is_read_from_its_docstring_as_a_sentence() -> None:
    assert sentences()["FETCH-9"] == "A paused queue gives nothing; the others go on."
    assert sentences()["TXN-1"].endswith("waiting workers are woken by the commit.")


def test_every_level_has_a_test_and_the_program_knows_all_levels() -> None:
    tests = (getattr(kind, name) for kind in (*CONTRACTS, ChaosContract) for name in dir(kind))
    levels = {terms.level for test in tests if (terms := terms_of(test))}
    assert levels == set(LEVELS)
    assert verdicts.LEVELS == LEVELS


def test_importing_the_tools_imports_neither_pytest_nor_a_contract() -> None:
    program = (
        "import sys, stem_core.testing; "
        "print(sorted({'pytest', 'hypothesis', 'asyncio', 'stem_core.testing.contract'} & "
        "set(sys.modules)))"
    )
    run = [sys.executable, "-c", program]
    assert subprocess.run(run, capture_output=True, text=True, check=True).stdout == "[]\n"


# ── what an author gets wrong ────────────────────────────────────────────────

AUTHOR = """
import asyncio, pytest
from stem_core.contracts.capabilities import Support
from stem_core.embedded.memory.broker import CAPABILITIES, InMemoryBroker
from stem_core.embedded.memory.backend import InMemoryResultBackend
from stem_core.model.errors import StoreUnavailable
from stem_core.model.value import replace
from stem_core.testing import BrokerContract, ResultBackendContract, SignerContract, Stage
from stem_core.testing.contract.verbs import VerbContract

shared = InMemoryBroker("shared")

asyncio.run(shared.lookup(["m"]))

def with_a_loop_of_its_own():
    made = asyncio.sleep(0, InMemoryBroker("own"))
    try:
        return asyncio.run(made)
    finally:
        made.close()

class OfClosedLoop(InMemoryBroker):
    async def lookup(self, ids):
        loop = asyncio.new_event_loop()
        loop.close()
        return await loop.run_in_executor(None, lambda: [])

class Translating(OfClosedLoop):
    async def lookup(self, ids):
        try:
            return await super().lookup(ids)
        except RuntimeError as error:
            raise StoreUnavailable("the spool does not answer") from error

def without_its_server():
    return InMemoryBroker({}["SPOOL"])

async def without_its_server_later():
    return without_its_server()

class NoAdmin(InMemoryBroker):
    admin = None

class Silent(InMemoryBroker):
    capabilities = replace(CAPABILITIES, priority=Support.ABSENT)

class OnBad(BrokerContract):
    given = None
    @pytest.fixture
    def stem_broker(self):
        return self.given
"""

BAD = {
    "nothing": ("", "`stem_broker` gave nothing; give a URL such as"),
    "a number": ("given = 7", "`stem_broker` gave a int (7); give a URL"),
    "an open broker": ('given = InMemoryBroker("x")', "gave a InMemoryBroker ("),
    "a factory of None": ("given = staticmethod(lambda: None)", "`stem_broker` gave nothing"),
    "a factory with arguments": (
        "given = staticmethod(lambda tmp_path: None)",
        "is called without arguments: missing a required argument: 'tmp_path'",
    ),
    "a backend": (
        'given = staticmethod(lambda: InMemoryResultBackend("x"))',
        "gave a InMemoryResultBackend (",
    ),
    "a stage without a broker": ("given = staticmethod(lambda: Stage())", "gave a Stage ("),
    "an async fixture": (
        "async def _made(self): ...\n    @pytest.fixture\n    def stem_broker(self):\n"
        "        return self._made()",
        "a coroutine, for it is `async def` and nobody awaited it",
    ),
    "a loop inside of the factory": (
        "given = staticmethod(with_a_loop_of_its_own)",
        "the factory that `stem_broker` gives starts an event loop, and one is running",
    ),
    "a used handle": (
        "given = staticmethod(lambda: shared)",
        "gave a handle that another event loop has used before",
    ),
    "a closed loop": (
        'given = staticmethod(lambda: OfClosedLoop("c"))',
        "gave a handle whose event loop is not the test's (Event loop is closed)",
    ),
    "a closed loop behind an error of the store": (
        'given = staticmethod(lambda: Translating("t"))',
        "gave a handle whose event loop is not the test's (Event loop is closed)",
    ),
    "a factory that raises": (
        "given = staticmethod(without_its_server)",
        "the factory that `stem_broker` gives raised KeyError: 'SPOOL' (test_author.py:",
    ),
    "an async factory that raises": (
        "given = staticmethod(without_its_server_later)",
        "the factory that `stem_broker` gives raised KeyError: 'SPOOL' (test_author.py:",
    ),
    "a scheme that nobody opens": ('url = "pigeon://x"', "gave pigeon://x, which does not open: "),
    "no URL": ('url = "pigeon"', "gave a URL, which does not open: "),
    "a file that cannot be": ('url = "sqlite:////nowhere/x.db"', "there is no folder /nowhere"),
}
"""By what is wrong: the body of the test class, and what is said."""


@pytest.fixture
def author(pytester: pytest.Pytester) -> pytest.Pytester:
    """A folder of somebody else."""
    pytester.makeini("[pytest]\naddopts = -p no:cacheprovider\nfilterwarnings = error")
    return pytester


def told_of(author: pytest.Pytester, classes: str, chosen: str) -> dict[str, str]:
    """Run the tests named like *chosen* of *classes*; return what each class is told."""
    author.makepyfile(test_author=AUTHOR + classes)
    reports = author.inline_run("-k", chosen).getreports("pytest_runtest_logreport")
    failed = [report for report in reports if report.failed]
    return {report.nodeid.split("::")[1]: report.longreprtext for report in failed}


def test_what_cannot_be_tested_is_said_in_one_sentence(author: pytest.Pytester) -> None:
    classes = "".join(
        f"\nclass Test{n}({'BrokerContract' if body.startswith('url') else 'OnBad'}):\n"
        f"    {body or 'pass'}\n"
        for n, (body, _) in enumerate(BAD.values())
    )
    told = told_of(author, classes, "test_replies_come_by_position")
    for n, (what, (_, expected)) in enumerate(BAD.items()):
        assert expected in told[f"Test{n}"], what
        assert "\n" not in told[f"Test{n}"].strip().replace("\n  ", " "), what


@pytest.mark.parametrize("named", ["by a message", "by an id"])
def test_a_factory_that_gives_one_store_twice_is_told_so(
    author: pytest.Pytester, named: str
) -> None:
    *chosen, left = {  # two tests each, of which the first leaves something for the second
        "by a message": ("test_a_created_message", "test_a_held_unique_key", "message"),
        "by an id": ("test_outcome_and_follow", "test_a_lapsed_lease_that_nobody_took_can", "id"),
    }[named]
    broker = f"InMemoryBroker('twice-{left}')"
    classes = f"class TestTwice(OnBad):\n    given = staticmethod(lambda: {broker})\n"
    told = told_of(author, classes, " or ".join(chosen))
    assert re.fullmatch(
        rf"`stem_broker` gave the store memory:\S+:twice-{left} a second time, and the {left} "
        r"'\w+' of an earlier test is in it: let the factory give each call a namespace of its own",
        " ".join(told["TestTwice"].split()),
    )


def test_a_store_that_was_emptied_may_be_given_again(author: pytest.Pytester) -> None:
    classes = """
def emptied():
    broker = InMemoryBroker("emptied")
    broker.store._begin()
    broker.store.store_id = "spool"
    return broker

class TestEmptied(OnBad):
    given = staticmethod(emptied)
"""
    assert (
        told_of(author, classes, "test_a_created_message or test_a_lapsed_lease_that_nobody") == {}
    )


CLAIMS = {
    "lacking": (
        "Silent",
        "claims = {'delay', 'priority'}",
        "`claims` names priority, which the capabilities of Silent lack",
    ),
    "silent": (
        "InMemoryBroker",
        "claims = {'delay'}",
        "InMemoryBroker declares atomic_results, broadcast, cancel, dead_letters, dedupe, limits, "
        "pause, priority, uniqueness, which `claims` does not name",
    ),
    "mistyped": (
        "InMemoryBroker",
        "claims = {'prority'}",
        "`claims` names 'prority', which is no capability: did you mean 'priority'?",
    ),
    "text": ("InMemoryBroker", "claims = 'delay'", "`claims` is 'delay': give a set of names"),
    "no companion": (
        "NoAdmin",
        "",
        "NoAdmin declares dead_letters, and its `admin` is None: offer one, or declare",
    ),
}
"""By what is wrong: the broker, what the class claims, and what is said."""


def test_a_claim_that_differs_from_what_is_declared_is_an_error(author: pytest.Pytester) -> None:
    classes = "".join(
        f"\nclass Test{n}(OnBad):\n    {claims}\n"
        f"    given = staticmethod(lambda: {broker}('claims-{n}'))\n"
        for n, (broker, claims, _) in enumerate(CLAIMS.values())
    )
    told = told_of(author, classes, "test_what_it_declares")
    for n, (what, (*_, expected)) in enumerate(CLAIMS.items()):
        assert expected in told[f"Test{n}"], what
        assert "\n" not in told[f"Test{n}"].strip(), what


def test_what_is_not_declared_is_listed_as_not_claimed(author: pytest.Pytester) -> None:
    author.makepyfile(
        f"{AUTHOR}\nclass TestSilent(OnBad):\n    given = staticmethod(lambda: Silent('silent'))\n"
    )
    run = author.runpytest_inprocess("-rs", "-k", "priority")
    assert run.parseoutcomes()["skipped"] == 2
    assert "not claimed: priority" in run.stdout.str()


def test_a_declared_capability_that_fails_is_a_failure(author: pytest.Pytester) -> None:
    broken = """
class Unsorted(InMemoryBroker):
    async def publish(self, messages):
        return await super().publish([replace(each, priority=0) for each in messages])

class TestUnsorted(OnBad):
    given = staticmethod(lambda: Unsorted("unsorted"))
"""
    author.makepyfile(AUTHOR + broken)
    run = author.runpytest_inprocess("-k", "test_priority_order_holds_under_load")
    run.assert_outcomes(failed=1, deselected=run.parseoutcomes()["deselected"])


# ── for stores that a URL names ──────────────────────────────────────────────


PACKAGE = ("-p", "no:cacheprovider", "--pyargs", "stem_core.testing.conformance", "-q")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), "nothing to prove: give --stem-broker-url=URL"),
        (("--stem-broker-url=pigeon://x",), "gave pigeon://x, which does not open"),
        (("--stem-signer-url=none://",), "opens to no signer on purpose"),
        (("--stem-backend-url=none://",), "opens to none on purpose"),
        (("--stem-broker-url=sqlite://:secret@host/x",), "which does not open"),
    ],
)
def test_a_url_that_does_not_open_ends_the_run_at_once(
    author: pytest.Pytester, options: tuple[str, ...], expected: str
) -> None:
    run = author.runpytest_inprocess(*PACKAGE, *options)
    told = run.stdout.str() + run.stderr.str()
    assert run.ret == pytest.ExitCode.USAGE_ERROR, told
    assert expected in told
    assert "Traceback" not in told
    assert "secret" not in told


def test_a_file_and_its_results_are_proven_by_url_with_a_second_process(tmp_path: Path) -> None:
    options = ("--stem-broker-url=sqlite:///tasks.db", "-k", "another_process")
    command = [sys.executable, "-m", "pytest", *PACKAGE, *options]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout
    assert "3 passed" in run.stdout

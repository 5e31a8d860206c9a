"""The fixtures for people who test tasks of their own: what they run, tell and refuse.

Most tests use the fixtures as anyone would; what concerns settings, reports or start-up
runs pytest in a process of its own, in a folder with a small shop and its tests.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import textwrap
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from stem_core.contracts.signer import Signer
from stem_core.embedded.memory.store import MemoryStore
from stem_core.model.errors import (
    ConfigError,
    Discard,
    InvalidOption,
    Reject,
    SignatureInvalid,
    SignatureMissing,
    Snooze,
    UsageError,
)
from stem_core.model.outcome import State
from stem_core.model.seal import Seal, pae
from stem_core.plugin import replace
from stem_core.producer.client import Stem
from stem_core.producer.context import TaskContext
from stem_core.testing.apps import app_named

# ── a shop ───────────────────────────────────────────────────────────────────

shop = Stem()
paid: Counter[str] = Counter()
paid_in: list[asyncio.AbstractEventLoop] = []


@shop.task(name="shop.charge", queue="billing", max_retries=2)
async def charge(customer: str, amount: int = 5) -> str:
    if amount < 0:
        raise ConnectionError("the bank hung up")
    paid[customer] += amount
    paid_in.append(asyncio.get_running_loop())
    return f"{customer} paid"


@shop.task(name="shop.order", context=True)
def order(ctx: TaskContext, customer: str) -> None:
    ctx.enqueue(charge.call(customer, amount=7))


@shop.task(name="shop.remind")
async def remind(whom: str, at: datetime) -> str:
    return f"{whom} at {at.isoformat()}"


@shop.task(name="shop.end")
async def end(by: str) -> None:
    raise {"discard": Discard("paid already"), "reject": Reject("no such card")}.get(
        by, Snooze("5m")
    )


@pytest.fixture
def stem_original():
    paid.clear()
    paid_in.clear()
    return shop


# ── the worker ───────────────────────────────────────────────────────────────


def test_a_drain_runs_what_is_due_and_tells_of_it(stem_worker):
    job = charge.blocking.enqueue("ada")
    [ran] = stem_worker.drain().succeeded
    assert (ran.task, ran.queue, ran.id, ran.attempt) == ("shop.charge", "billing", job.id, 1)
    assert (paid["ada"], job.result(timeout=1)) == (5, "ada paid")


def test_a_drain_runs_follow_ups_too(stem_worker):
    order.blocking.enqueue("ada")
    assert [ran.task for ran in stem_worker.drain()] == ["shop.order", "shop.charge"]
    assert paid["ada"] == 7


def test_a_drain_of_nothing_is_empty(stem_worker):
    assert not stem_worker.drain()
    assert len(stem_worker.drain()) == 0


def test_in_an_event_loop_a_drain_is_awaited_and_runs_there(stem_worker):
    async def trial():
        await charge.enqueue("ada")
        drain = stem_worker.drain()
        assert not paid
        [ran] = (await drain).succeeded
        assert ran.task == "shop.charge"
        assert paid_in == [asyncio.get_running_loop()]

        await charge.enqueue("bob")
        assert (await drain).succeeded == (ran,)  # it ran once and stays as it was

    asyncio.run(trial())


def test_a_drain_that_nobody_awaited_answers_nothing(stem_worker):
    async def trial():
        drain = stem_worker.drain()
        with pytest.raises(UsageError, match="Write await stem_worker"):
            len(drain)
        await drain

    asyncio.run(trial())


def test_what_was_sent_in_one_loop_is_run_in_another(stem_worker):
    asyncio.run(charge.enqueue("ada"))
    assert len(stem_worker.drain().succeeded) == 1

    async def again():
        return await stem_worker.drain()

    charge.blocking.enqueue("bob")
    assert len(asyncio.run(again()).succeeded) == 1


@pytest.mark.parametrize(
    ("by", "fate", "why"),
    [
        ("discard", "discarded", "paid already"),
        ("reject", "dead", "rejected: Reject: no such card"),
        ("snooze", "released", ""),
    ],
)
def test_a_task_that_ends_otherwise_is_told_as_such(stem_worker, by, fate, why):
    end.blocking.enqueue(by)
    drain = stem_worker.drain()
    assert [(ran.fate, ran.why) for ran in drain] == [(fate, why)]
    assert not drain.succeeded


def test_a_drain_can_be_read_by_people(stem_worker):
    end.blocking.enqueue("snooze")
    assert repr(stem_worker.drain()) == "Drain[<shop.end, attempt 1, released, again after 5m>]"


# ── time ─────────────────────────────────────────────────────────────────────


def test_a_delayed_task_waits_until_the_clock_is_advanced(stem_worker, stem_clock):
    charge.using(delay="5m").blocking.enqueue("ada")
    assert not stem_worker.drain()
    stem_clock.advance(timedelta(minutes=5) - timedelta(milliseconds=1))
    assert not stem_worker.drain()
    stem_clock.advance(0.001)
    assert len(stem_worker.drain().succeeded) == 1


def test_a_start_that_production_code_computes_comes_when_the_clock_has_passed_it(
    stem_worker, stem_clock
):
    charge.using(not_before=datetime.now(UTC) + timedelta(hours=1)).blocking.enqueue("ada")
    stem_clock.advance("59m")
    assert not stem_worker.drain()
    stem_clock.advance("2m")
    assert len(stem_worker.drain().succeeded) == 1


def test_a_failed_attempt_is_retried_when_its_wait_is_over_and_dies_in_the_end(
    stem_worker, stem_clock
):
    job = charge.blocking.enqueue("ada", -1)
    waits = []
    while retried := (drain := stem_worker.drain()).retried:
        assert drain.failed == retried
        assert not stem_worker.drain()  # the wait is not over
        waits.append(retried[0].after)
        stem_clock.advance(retried[0].after)
    assert waits == [timedelta(milliseconds=999), timedelta(milliseconds=1999)]
    [dead] = drain.dead
    assert (dead.attempt, drain.failed) == (3, (dead,))
    assert dead.why == "max-retries-exhausted: ConnectionError: the bank hung up"
    assert "in charge" in dead.traceback
    status = job.status()
    assert status is not None
    assert status.state is State.DEAD


# ── the outbox ───────────────────────────────────────────────────────────────


def test_what_was_enqueued_is_found_by_task_arguments_queue_and_count(stem_outbox):
    charge.blocking.enqueue("ada", amount=5)
    charge.blocking.enqueue("bob")
    first, second = stem_outbox.assert_enqueued(charge, count=2)
    assert (first.args, second.args) == ({"customer": "ada", "amount": 5}, {"customer": "bob"})
    stem_outbox.assert_enqueued("shop.charge", {"customer": "ada"}, queue="billing", count=1)
    stem_outbox.assert_enqueued(charge.call("bob"), count=1)
    stem_outbox.assert_enqueued(charge.call("ada"), count=0)  # it has an amount, too
    stem_outbox.assert_enqueued(charge, args={"customer": "eve"}, count=0)
    stem_outbox.assert_enqueued(order, count=0)
    assert [sent.task for sent in stem_outbox] == ["shop.charge", "shop.charge"]
    assert (len(stem_outbox), stem_outbox[-1]) == (2, second)


def test_arguments_are_compared_as_they_travel(stem_outbox):
    at = datetime(2030, 1, 1, tzinfo=UTC)
    remind.blocking.enqueue("ada", at)
    stem_outbox.assert_enqueued(remind, args={"at": at})
    stem_outbox.assert_enqueued(remind.call("ada", at))


def test_follow_ups_are_in_the_outbox_once_they_are_sent(stem_worker, stem_outbox):
    order.blocking.enqueue("ada")
    stem_outbox.assert_enqueued(charge, count=0)
    stem_worker.drain()
    stem_outbox.assert_enqueued(charge.call("ada", amount=7))


def test_a_call_that_made_no_second_message_is_not_in_the_outbox(stem_outbox):
    for _ in range(2):
        charge.using(task_id="order-17").blocking.enqueue("ada")
    stem_outbox.assert_enqueued(charge, count=1)


def test_a_refused_call_is_not_in_the_outbox(stem_outbox):
    with pytest.raises(InvalidOption):
        charge.using(delay="5m", not_before=datetime.now(UTC)).blocking.enqueue("ada")
    stem_outbox.assert_nothing_enqueued()


def test_a_cleared_outbox_knows_only_what_comes_after(stem_worker, stem_outbox):
    order.blocking.enqueue("ada")
    stem_outbox.clear()
    stem_outbox.assert_nothing_enqueued()
    stem_worker.drain()
    stem_outbox.assert_enqueued(charge, count=1)
    assert len(stem_outbox) == 1


def test_a_failed_assertion_shows_what_was_enqueued_instead(stem_outbox):
    charge.blocking.enqueue("ada", amount=5)
    charge.using(delay="1h").blocking.enqueue("bob")
    with pytest.raises(AssertionError) as failed:
        stem_outbox.assert_enqueued(charge, args={"customer": "eve"}, queue="billing")
    assert str(failed.value) == (
        "shop.charge on queue 'billing' with args={'customer': 'eve'} was not enqueued\n"
        "enqueued: 2\n"
        "  shop.charge on queue 'billing' with args={'customer': 'ada', 'amount': 5}\n"
        "  shop.charge on queue 'billing' in 1h with args={'customer': 'bob'}"
    )


@pytest.mark.parametrize(
    ("ask", "answer"),
    [
        (lambda outbox: outbox.assert_enqueued(order), "shop.order was not enqueued"),
        (lambda outbox: outbox.assert_enqueued(charge, count=2), "enqueued once, not 2 times"),
        (lambda outbox: outbox.assert_enqueued(charge, count=0), "enqueued once, not 0 times"),
        (lambda outbox: outbox.assert_enqueued(charge, queue="default"), "on queue 'default' was"),
        (lambda outbox: outbox.assert_enqueued(charge.call("ada", 5)), "exactly args={"),
        (lambda outbox: outbox.assert_nothing_enqueued(), "something was enqueued\nenqueued: 1"),
    ],
)
def test_an_assertion_that_does_not_hold_says_so(stem_outbox, ask, answer):
    charge.blocking.enqueue("ada")
    with pytest.raises(AssertionError, match=re.escape(answer)):
        ask(stem_outbox)


def test_a_long_outbox_is_shown_in_part(stem_outbox):
    shop.blocking.enqueue_many(charge.call(f"c{number}") for number in range(25))
    with pytest.raises(AssertionError, match="and 5 more") as failed:
        stem_outbox.assert_nothing_enqueued()
    assert len(str(failed.value).splitlines()) == 23


@pytest.mark.parametrize(
    ("ask", "answer"),
    [
        (
            lambda outbox: outbox.assert_enqueued(charge, args={"amuont": 5}, count=0),
            "no argument 'amuont'.*\n.*Did you mean 'amount'",
        ),
        (
            lambda outbox: outbox.assert_enqueued(charge.using(queue="a").call("b"), count=0),
            "its task and arguments are compared",
        ),
        (
            lambda outbox: outbox.assert_enqueued(charge.call("b"), args={"amount": 1}, count=0),
            "its task and arguments are compared",
        ),
        (lambda outbox: outbox.assert_enqueued(lambda: 5, count=0), "a task, its name or a call"),
    ],
)
def test_a_question_that_nothing_could_answer_is_refused(stem_outbox, ask, answer):
    with pytest.raises(UsageError, match=answer):
        ask(stem_outbox)


# ── the whole path ───────────────────────────────────────────────────────────


class Toy(Signer):
    """Signs with a checksum, and counts how often it is asked."""

    can_sign = True
    key_ids = ("k1",)

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()

    def sign(self, purpose: str, body: bytes) -> Seal:
        self.asked["sign"] += 1
        return self._seal(purpose, body)

    def verify(self, purpose: str, body: bytes, seal: Seal) -> None:
        self.asked["verify"] += 1
        if seal.is_empty:
            raise SignatureMissing("not signed")
        if seal != self._seal(purpose, body):
            raise SignatureInvalid("not by us")

    def _seal(self, purpose: str, body: bytes) -> Seal:
        total = sum(pae(purpose, "toy", "k1", body))
        return Seal("toy", "k1", total.to_bytes(8, "big"))


class TestASignedShop:
    @pytest.fixture
    def signer(self):
        return Toy()

    @pytest.fixture
    def stem_original(self, signer):
        paid.clear()
        app = Stem(signer=signer)
        app.include(shop.registry)
        yield app
        shop.registry.belong_to(shop)  # the last Stem that included a task sends it

    def test_every_message_is_sealed_by_the_producer_and_verified_by_the_worker(
        self, stem_worker, signer
    ):
        job = charge.blocking.enqueue("ada")
        assert signer.asked == {"sign": 1}
        stem_worker.drain()
        assert signer.asked == {"sign": 1, "verify": 1}
        assert job.result(timeout=1) == "ada paid"

    def test_a_body_that_was_altered_in_the_store_is_not_run(self, stem_worker):
        job = charge.blocking.enqueue("ada")
        alter_in_store(job.id, b"ada", b"eve")
        [dead] = stem_worker.drain().dead
        assert dead.why.startswith("signature-invalid")
        assert not paid


def alter_in_store(id: str, old: bytes, new: bytes) -> None:
    """Change a message as whoever can write to the store could."""
    [store] = (store for (_, name), store in MemoryStore._named.items() if "override" in name)
    entry = store.machine.entries[id]
    assert old in entry.message.body
    entry.message = replace(entry.message, body=entry.message.body.replace(old, new))


# ── settings and reports ─────────────────────────────────────────────────────

SHOP = """
from stem_core import Stem

stem = Stem()
other = 5

@stem.task(name="shop.charge")
async def charge(customer: str, amount: int = 5) -> None:
    if amount < 0:
        raise ConnectionError("the bank hung up")
"""


class Folder:
    """A folder with a shop and tests of it."""

    def __init__(self, path: Path, package: str = "shop") -> None:
        self.path = path
        self.write(f"{package}/__init__.py", "")
        self.write(f"{package}/tasks.py", SHOP)

    def write(self, name: str, text: str) -> None:
        file = self.path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(textwrap.dedent(text))

    def pytest(self, tests: str, *options: str, app: str = "shop.tasks:stem") -> str:
        """Run *tests* in a process of its own; return what it printed."""
        ini = f"[pytest]\npythonpath = .\nstem_app = {app}\nfilterwarnings = error\n"
        self.write("pytest.ini", ini)
        self.write("test_shop.py", tests)
        # Of the plugins that are installed here, those that take seconds to load.
        bare = ["-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-p", "no:valkey"]
        command = [sys.executable, "-m", "pytest", *bare, *options]
        done = subprocess.run(
            command, cwd=self.path, env=at_home(), capture_output=True, text=True, timeout=60
        )
        return done.stdout + done.stderr


def at_home() -> dict[str, str]:
    """Return the environment without what pytest goes by: it prints more on a CI machine."""
    told = {"CI", "BUILD_NUMBER", "COLUMNS", "FORCE_COLOR", "PY_COLORS", "PYTEST_ADDOPTS"}
    return {name: value for name, value in os.environ.items() if name not in told}


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


def test_the_app_that_the_ini_option_names_is_rebound_for_each_test_and_restored(folder):
    out = folder.pytest("""
        from stem_core.embedded.memory.store import MemoryStore
        from shop.tasks import charge, stem

        def test_one(stem_app, stem_worker, stem_outbox):
            assert stem_app is stem
            charge.blocking.enqueue("ada")
            assert len(stem_worker.drain().succeeded) == 1

        def test_two(stem_worker, stem_outbox):
            stem_outbox.assert_nothing_enqueued()
            assert not stem_worker.drain()

        def test_afterwards():
            assert stem._made is None
            assert not MemoryStore._named
    """)
    assert "3 passed" in out


def test_a_typo_in_the_ini_option_gives_one_clear_error(folder):
    out = folder.pytest("def test_one(stem_app): pass", app="shop.tasks:setm")
    report = out.partition("ERROR at setup of test_one ")[2].partition("\n=====")[0]
    assert report.lstrip("_\n") == (
        "the ini option stem_app = shop.tasks:setm: shop.tasks has no 'setm'\n"
        "  Write stem_app = shop.tasks:stem."
    )


def test_without_a_name_the_app_is_a_new_one():
    first, second = app_named(""), app_named(" ")
    assert first is not second
    assert not [*first.registry.names()]


@pytest.mark.parametrize(
    ("app", "says"),
    [
        ("kiosk.taks:stem", "no module 'kiosk.taks' on the Python path"),
        ("koisk.tasks:stem", "no module 'koisk' on the Python path"),
        ("kiosk.tasks:setm", "kiosk.tasks has no 'setm'\n  Write stem_app = kiosk.tasks:stem."),
        ("kiosk.tasks:other", "of type int, not a Stem\n  Write stem_app = kiosk.tasks:stem."),
        ("kiosk:stem", "There is no Stem in kiosk."),
        ("kiosk.tasks", "not module:attribute\n  Write module:attribute"),
        ("kiosk/tasks.py:stem", "not module:attribute\n  Write module:attribute"),
    ],
)
def test_an_app_that_cannot_be_is_refused_with_what_to_write(tmp_path, monkeypatch, app, says):
    Folder(tmp_path, package="kiosk")
    monkeypatch.syspath_prepend(tmp_path)
    try:
        with pytest.raises(ConfigError, match=re.escape(says)) as refused:
            app_named(app)
    finally:
        for name in ("kiosk", "kiosk.tasks"):
            sys.modules.pop(name, None)
    assert refused.value.message.startswith(f"the ini option stem_app = {app}: ")


def test_an_app_that_cannot_be_imported_shows_where_it_fails(folder):
    folder.write("shop/broken.py", "import a_library_that_is_not_there")
    out = folder.pytest("def test_one(stem_app): pass", app="shop.broken:stem")
    assert "No module named 'a_library_that_is_not_there'" in out
    assert "broken.py:1" in out


def test_a_failed_task_is_shown_with_its_traceback_where_the_test_fails(folder):
    out = folder.pytest("""
        from shop.tasks import charge

        def test_one(stem_worker):
            charge.blocking.enqueue("ada", -1)
            assert not stem_worker.drain().failed

        def test_two(stem_worker):
            charge.blocking.enqueue("bob", -1)
            stem_worker.drain()
    """)
    failure = (
        "shop.charge, attempt 1, retried, again after 999ms: ConnectionError: the bank hung up"
    )
    assert f"E       assert not (<{failure}>,)" in out
    assert out.count(f"\n{failure}\nTraceback (most recent call last):\n") == 1
    assert 'tasks.py", line 10, in charge' in out
    assert "1 failed, 1 passed" in out


def test_a_failed_assertion_points_at_the_test_and_not_into_stem(folder):
    out = folder.pytest("""
        from shop.tasks import charge

        def test_one(stem_outbox):
            charge.blocking.enqueue("ada")
            stem_outbox.assert_enqueued(charge, args={"customer": "bob"})
    """)
    assert (
        "E       AssertionError: shop.charge with args={'customer': 'bob'} was not enqueued" in out
    )
    assert "E         shop.charge on queue 'default' with args={'customer': 'ada'}" in out
    assert "outbox.py" not in out


def test_a_mistake_in_a_test_fails_it_with_what_to_write_instead(folder):
    out = folder.pytest("""
        import asyncio
        import pytest
        from shop.tasks import charge

        def test_forgetful(stem_worker):
            async def trial():
                await charge.enqueue("ada")
                stem_worker.drain()

            asyncio.run(trial())

        class TestNoStem:
            @pytest.fixture
            def stem_original(self):
                return 5

            def test_one(self, stem_app): pass

        class TestNotRebound:
            @pytest.fixture
            def stem_app(self):
                return 5

            def test_one(self, stem_worker): pass
            def test_two(self, stem_outbox): pass
    """)
    assert "1 passed, 4 errors" in out
    assert out.count("Write await stem_worker.drain().") == 1
    assert "the fixture stem_original must return a Stem, it returned 5" in out
    assert out.count("Override stem_original instead") == 2
    assert "plugin.py" not in out  # no traceback from inside


# ── those who have it installed and do not use it ────────────────────────────


def test_start_up_imports_nothing_of_stem_but_the_plugin():
    program = (
        "import sys, pytest; before = {*sys.modules}; import stem_core.testing.plugin; "
        "print(*sorted({*sys.modules} - before))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == ["stem_core", "stem_core.testing", "stem_core.testing.plugin"]


def test_a_run_that_does_not_use_it_loads_no_more_and_warns_of_nothing(folder):
    out = folder.pytest("""
        import sys

        def test_one():
            loaded = {name for name in sys.modules if name.partition(".")[0] == "stem_core"}
            assert loaded == {"stem_core", "stem_core.testing", "stem_core.testing.plugin"}
            assert not {"attrs", "cattrs", "click", "msgspec"} & {*sys.modules}
    """)
    assert "1 passed in" in out


def test_it_can_be_switched_off(folder):
    out = folder.pytest("def test_one(stem_app): pass", "-p", "no:stem", "-W", "ignore", app="")
    assert "fixture 'stem_app' not found" in out


def test_the_list_of_fixtures_says_what_each_is_for(folder):
    out = folder.pytest("", "--fixtures")
    listed = out.partition("stem_core.testing.plugin")[2].partition("----- fixtures")[0]
    for name in ("stem_app", "stem_clock", "stem_original", "stem_outbox", "stem_worker"):
        assert re.search(rf"^{name} -- .*\n    \S.{{30,90}}\.$", listed, re.MULTILINE), name
    assert "no docstring" not in listed

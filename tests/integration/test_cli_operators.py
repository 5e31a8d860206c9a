"""`stem dlq`, `stem queues` and `stem jobs`, on a broker that counts as shared."""

from __future__ import annotations

import asyncio
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stem_core.cli import main
from stem_core.contracts.messages import DeadLetter, Located, Message, Place, Settlement, UniqueKey
from stem_core.embedded.memory.store import MemoryStore
from stem_core.model.outcome import Reason, State, TaskStatus
from stem_core.producer.client import Stem
from stem_core.worker.burst import burst

# No store of this release is shared by processes; this one only says that it is, and the
# commands run in this process. Three items are a full batch, so that there are several.
APP = """
from stem_core.embedded.memory.admin import MemoryAdmin
from stem_core.embedded.memory.backend import InMemoryResultBackend
from stem_core.embedded.memory.broker import InMemoryBroker
from stem_core.model.errors import StoreUnavailable
from stem_core.model.value import replace
from stem_core.producer.client import Stem
from stem_core.contracts.capabilities import Support

class SharedBroker(InMemoryBroker):
    @property
    def capabilities(self):
        return replace(super().capabilities, multiprocess=True, max_batch=3)

class SharedBackend(InMemoryResultBackend):
    @property
    def capabilities(self):
        return replace(super().capabilities, multiprocess=True)

class Bare(SharedBroker):
    @property
    def admin(self):
        return None

class Simple(SharedBroker):
    @property
    def capabilities(self):
        absent = Support.ABSENT
        return replace(super().capabilities, pause=absent, dead_letters=absent, cancel=absent)

class Failing(SharedBroker):
    @property
    def admin(self):
        return FailingAdmin(self)

class FailingAdmin(MemoryAdmin):
    calls = 0

    async def discard(self, ids):
        FailingAdmin.calls += 1
        if FailingAdmin.calls > 1:
            raise StoreUnavailable("the connection is gone")
        return await super().discard(ids)

stem = Stem(broker=SharedBroker("ops"), backend=SharedBackend("ops"))
split = Stem(broker=SharedBroker("ops"), backend=SharedBackend("ops-records"))
forgetful = Stem(broker=SharedBroker("ops"), backend=None)
bare = Stem(broker=Bare("ops"), backend=None)
simple = Stem(broker=Simple("ops"), backend=None)
failing = Stem(broker=Failing("ops"), backend=None)
private = Stem(broker=InMemoryBroker("ops"), backend=None)
half = Stem(broker=SharedBroker("ops"), backend=InMemoryResultBackend("ops-records"))

async def charge(customer: str) -> str:
    if customer == "poor":
        raise ValueError("card declined\\x1b[2J")
    return customer

for each in (stem, split):
    each.task(name="billing.charge", queue="billing", max_retries=0)(charge)
"""

Run = Callable[..., tuple[int, str, str]]


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Give the application ``opsapp``, on empty stores; nobody is at the terminal."""
    for name in [name for name in os.environ if name.startswith("STEM_")]:
        monkeypatch.delenv(name)
    (tmp_path / "opsapp.py").write_text(APP)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    import opsapp  # type: ignore[import-not-found]  # written above

    yield opsapp
    del sys.modules["opsapp"]
    for name in ("ops", "ops-records"):
        MemoryStore.forget(name, "stem")


@pytest.fixture
def stem(app: Any) -> Stem:
    """Give the Stem whose broker and backend are one store."""
    return app.stem


@pytest.fixture
def run(app: Any, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the program with the application; return exit code, output and errors."""

    def run(*arguments: str, app: str = "stem") -> tuple[int, str, str]:
        code = main([*arguments, "--app", f"opsapp:{app}"])
        out, err = capsys.readouterr()
        return code, out, err

    return run


def enqueue(stem: Stem, *ids: str, customer: str = "poor", **how: Any) -> None:
    for id in ids:
        args = {"customer": customer}
        asyncio.run(stem.enqueue("billing.charge", args, task_id=id, **how))


def kill(stem: Stem, *ids: str) -> None:
    """Let tasks die, one after the other."""
    for id in ids:
        enqueue(stem, id)
        asyncio.run(burst(stem))


def lease(stem: Stem, queue: str = "billing") -> None:
    async def take() -> None:
        lane = await stem.lane()
        await lane.broker.fetch([queue], limit=1, wait_ms=0, worker="w-1")

    asyncio.run(take())


def find(stem: Stem, id: str) -> Located | None:
    async def look() -> Located | None:
        lane = await stem.lane()
        return (await lane.broker.lookup([id]))[0]

    return asyncio.run(look())


def held(stem: Stem, id: str) -> Located:
    found = find(stem, id)
    assert found is not None
    return found


def status(stem: Stem, id: str) -> TaskStatus:
    found = asyncio.run(stem.status(id))
    assert found is not None
    return found


def bury(stem: Stem, message: Message, reason: Reason) -> None:
    """Lay *message* into the dead letters, as a worker would."""

    async def settle() -> None:
        broker = (await stem.lane()).broker
        await broker.publish([message])
        [delivery] = await broker.fetch([message.queue], limit=1, wait_ms=0, worker="w-1")
        await broker.settle([Settlement(receipt=delivery.receipt, outcome=DeadLetter(reason))])

    asyncio.run(settle())


# ── dlq list ─────────────────────────────────────────────────────────────────


def test_dead_letters_are_listed_the_latest_first(stem: Stem, run: Run) -> None:
    kill(stem, "a", "b")
    code, out, err = run("dlq", "list")
    head, latest, oldest = out.splitlines()
    assert (code, err) == (0, "")
    assert head.split()[:6] == ["id", "task", "queue", "reason", "attempts", "died"]
    assert latest.split()[:5] == ["b", "billing.charge", "billing", "max-retries-exhausted", "1"]
    assert r"ValueError: card declined\x1b[2J" in latest
    assert oldest.startswith("a ")


def test_a_long_list_is_paged_by_a_cursor(stem: Stem, run: Run) -> None:
    kill(stem, "a", "b", "c")
    _, out, _ = run("dlq", "list", "--limit", "2", "--json")
    page = json.loads(out)
    assert [each["id"] for each in page["dead_letters"]] == ["c", "b"]
    _, out, _ = run("dlq", "list", "--limit", "2", "--cursor", page["cursor"], "--json")
    page = json.loads(out)
    assert [each["id"] for each in page["dead_letters"]] == ["a"]
    assert page["cursor"] is None


def test_people_are_told_that_there_are_more_and_can_have_all(stem: Stem, run: Run) -> None:
    kill(stem, "a", "b", "c")
    _, out, _ = run("dlq", "list", "--limit", "1")
    assert "There are more: --cursor" in out
    _, out, _ = run("dlq", "list", "--all")
    assert len(out.splitlines()) == 4


def test_a_queue_without_dead_letters_is_said_to_have_none(stem: Stem, run: Run) -> None:
    kill(stem, "a")
    code, out, err = run("dlq", "list", "--queue", "biling")
    assert (code, out) == (0, "There are no dead letters of queue biling.\n")
    assert "Did you mean 'billing'?" in err
    assert "a" in run("dlq", "list", "--queue", "billing")[1]


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["--cursor", "xyz"], "Invalid value for --cursor: 'xyz' is none of this broker"),
        (["--all", "--limit", "3"], "--all and --limit exclude each other"),
        (["--limit", "0"], "'0' is not a whole number from 1 to 1000"),
        (["--queue", "../etc"], "'/' at character 3"),
    ],
)
def test_a_list_that_cannot_be_is_refused(
    stem: Stem, run: Run, arguments: list[str], answer: str
) -> None:
    kill(stem, "a")
    code, out, err = run("dlq", "list", *arguments)
    assert (code, out) == (2, "")
    assert answer in err


# ── dlq show ─────────────────────────────────────────────────────────────────


def test_one_dead_letter_is_shown_with_its_traceback_and_its_body(stem: Stem, run: Run) -> None:
    kill(stem, "a")
    code, out, _ = run("dlq", "show", "a")
    assert code == 0
    assert "reason        max-retries-exhausted" in out
    assert "signature     none" in out
    assert "Traceback (most recent call last):" in out
    assert '"customer": "poor"' in out
    assert "\x1b" not in out


def test_programs_get_one_dead_letter_as_one_object(stem: Stem, run: Run) -> None:
    kill(stem, "a")
    facts = json.loads(run("dlq", "show", "a", "--json")[1])
    assert facts["id"] == "a"
    assert facts["reason"] == "max-retries-exhausted"
    assert facts["body"]["args"] == {"customer": "poor"}
    assert "Traceback" in facts["errors"][0]["traceback"]


def test_a_body_that_is_no_json_is_shown_as_bytes(stem: Stem, run: Run) -> None:
    message = Message(id="odd", queue="billing", task="\x1b[2J", body=b"\xff\x1b[2J")
    bury(stem, message, Reason.DECODE_ERROR)
    code, out, _ = run("dlq", "show", "odd")
    assert code == 0
    assert r"b'\xff\x1b[2J'" in out
    assert "\x1b" not in out


def test_only_a_dead_letter_is_shown(stem: Stem, run: Run) -> None:
    enqueue(stem, "live")
    code, out, err = run("dlq", "show", "live")
    assert (code, out) == (3, "")
    assert "it is live, and ready" in err
    code, _, err = run("dlq", "show", "nobody")
    assert code == 3
    assert "there is no dead letter 'nobody'" in err


# ── dlq replay ───────────────────────────────────────────────────────────────


def test_a_replay_says_of_each_id_what_became_of_it(stem: Stem, run: Run) -> None:
    kill(stem, "a", "b")
    code, out, _ = run("dlq", "replay", "a", "a", "b")
    assert code == 0
    assert out.splitlines() == ["a  replayed", "b  replayed"]
    assert held(stem, "a").place is Place.READY
    code, out, _ = run("dlq", "replay", "a", "nobody")
    assert code == 3
    assert out.splitlines() == [
        "a       is live already",
        "nobody  unknown: there is no dead letter of this id",
    ]


def test_a_unique_key_that_is_held_keeps_a_letter_where_it_is(stem: Stem, run: Run) -> None:
    for id in ("first", "second"):
        unique = UniqueKey(key="one-of-them")
        message = Message(id=id, queue="billing", task="t", body=b"{}", unique=unique)
        bury(stem, message, Reason.REJECTED)
    code, out, _ = run("dlq", "replay", "first", "second")
    assert code == 1
    assert "second  stays dead: its unique key is held by another task" in out


def test_all_that_are_chosen_are_replayed_in_their_old_order(stem: Stem, run: Run) -> None:
    kill(stem, *"abcdefg")
    bury(stem, Message(id="x", queue="mail", task="t", body=b"{}"), Reason.POISON)
    code, out, _ = run("dlq", "replay", "--all", "--queue", "billing", "--json")
    told = json.loads(out)
    assert code == 0
    assert [each["id"] for each in told["dead_letters"]] == list("abcdefg")
    assert told["counts"]["done"] == 7
    assert held(stem, "x").place is Place.DEAD
    assert run("dlq", "replay", "--all", "--task", "other")[1] == "0 dead letters replayed\n"
    assert run("dlq", "replay", "--all", "--reason", "poison")[1] == "1 dead letter replayed\n"


def test_a_replay_reopens_the_records_of_another_store(app: Any, run: Run) -> None:
    kill(app.split, "a")
    assert status(app.split, "a").state is State.DEAD
    assert run("dlq", "replay", "a", app="split")[0] == 0
    assert status(app.split, "a").state is State.QUEUED


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        ([], "Name dead letters by ID, or give --all."),
        (["a", "--all"], "exclude each other"),
        (["a", "--queue", "billing"], "--queue chooses among all dead letters: it needs --all."),
        (["--all", "--reason", "poision"], "Did you mean 'poison'?"),
        (["a b"], "' ' at character 2"),
    ],
)
def test_a_replay_that_is_not_clear_is_refused(
    stem: Stem, run: Run, arguments: list[str], answer: str
) -> None:
    kill(stem, "a")
    code, out, err = run("dlq", "replay", *arguments)
    assert (code, out) == (2, "")
    assert answer in err
    assert held(stem, "a").place is Place.DEAD


# ── dlq purge ────────────────────────────────────────────────────────────────


def test_a_dead_letter_is_discarded_by_its_id(stem: Stem, run: Run) -> None:
    kill(stem, "a", "b")
    enqueue(stem, "live")
    assert run("dlq", "purge", "a")[:2] == (0, "a  discarded\n")
    assert find(stem, "a") is None
    assert status(stem, "a").state is State.DEAD
    assert run("dlq", "purge", "a")[0] == 3
    assert run("dlq", "purge", "live")[0] == 1
    assert held(stem, "b").place is Place.DEAD


def test_without_a_terminal_nothing_is_discarded_unasked(stem: Stem, run: Run) -> None:
    kill(stem, "a")
    code, out, err = run("dlq", "purge", "--all")
    assert (code, out) == (2, "")
    assert "give --yes" in err
    assert run("dlq", "purge", "--all", "--yes")[:2] == (0, "1 dead letter discarded\n")
    assert find(stem, "a") is None


@pytest.mark.parametrize(("answer", "code", "is_gone"), [("y\n", 0, True), ("\n", 1, False)])
def test_at_a_terminal_a_person_is_asked(
    stem: Stem,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    answer: str,
    code: int,
    is_gone: bool,
) -> None:
    kill(stem, "a", "b")
    monkeypatch.setattr(sys, "stdin", _Terminal(answer))
    ended, out, err = run("dlq", "purge", "--all", "--json")
    assert ended == code
    assert "Discard 2 dead letters for good? [y/N]" in err
    assert (find(stem, "a") is None) is is_gone
    assert bool(out) is is_gone
    assert not out or json.loads(out)["counts"]["done"] == 2


def test_only_old_ones_are_discarded_if_that_is_asked(stem: Stem, run: Run) -> None:
    kill(stem, "a")
    run("dlq", "purge", "--all", "--older-than", "1h", "--yes")
    assert held(stem, "a").place is Place.DEAD


def test_what_was_done_before_a_store_failed_is_told(app: Any, stem: Stem, run: Run) -> None:
    kill(stem, *"abcd")
    code, out, err = run("dlq", "purge", *"abcd", app="failing")
    assert code == 5
    assert out.splitlines() == [f"{id}  discarded" for id in "abc"]
    assert "the connection is gone" in err
    assert app.FailingAdmin.calls == 2  # whether that was done is not known: it is not sent again


# ── queues ───────────────────────────────────────────────────────────────────


def test_queues_are_listed_with_their_sums(stem: Stem, run: Run) -> None:
    kill(stem, "dead")
    enqueue(stem, "a", "b")
    enqueue(stem, "later", delay="1h")
    lease(stem)
    asyncio.run(stem.enqueue("mail.send", {}))
    code, out, _ = run("queues", "list")
    assert code == 0
    head, billing, default, total = (line.split() for line in out.splitlines())
    assert head == ["queue", "ready", "delayed", "parked", "leased", "dead", "oldest"]
    assert billing[:6] == ["billing", "1", "1", "0", "1", "1"]
    assert default[:6] == ["default", "1", "0", "0", "0", "0"]
    assert total[:7] == ["all", "2", "2", "1", "0", "1", "1"]
    told = json.loads(run("queues", "list", "billing", "--json")[1])
    assert [each["queue"] for each in told["queues"]] == ["billing"]
    assert told["totals"]["dead"] == 1


def test_a_queue_that_nobody_used_is_warned_about(stem: Stem, run: Run) -> None:
    enqueue(stem, "a")
    code, _, err = run("queues", "list", "biling")
    assert code == 0
    assert "Did you mean 'billing'?" in err
    assert run("queues", "list", "billing")[2] == ""


def test_without_queues_that_is_said(run: Run) -> None:
    assert "No queue holds anything now" in run("queues", "list")[1]


def test_a_queue_is_held_until_it_is_resumed(stem: Stem, run: Run) -> None:
    enqueue(stem, "a", customer="rich")
    assert run("queues", "pause", "billing")[:2] == (
        0,
        "billing: paused; 1 task waiting, 0 running\n",
    )
    asyncio.run(burst(stem))
    assert "paused" in run("queues", "list")[1]
    assert "paused already" in run("queues", "pause", "billing")[1]
    assert held(stem, "a").place is Place.READY
    told = json.loads(run("queues", "resume", "billing", "--json")[1])
    assert told["queues"][0]["paused"] is False
    assert "was not paused" in run("queues", "resume", "billing")[1]
    asyncio.run(burst(stem))
    assert status(stem, "a").state is State.SUCCEEDED


@pytest.mark.parametrize("name", ["stem", "split"])
def test_a_purge_cancels_what_waits_and_every_record_says_so(app: Any, run: Run, name: str) -> None:
    stem = getattr(app, name)
    kill(stem, "dead")
    enqueue(stem, "runs", *"abcdefg")
    enqueue(stem, "later", delay="1h")
    lease(stem)
    code, out, _ = run("queues", "purge", "billing", "--yes", "--json", app=name)
    told = json.loads(out)
    assert code == 0
    assert told["cancelled"] == 8
    assert set(told["ids"]) == {*"abcdefg", "later"}
    assert held(stem, "runs").place is Place.LEASED
    assert held(stem, "dead").place is Place.DEAD
    for id in ("a", "later"):
        assert status(stem, id).state is State.CANCELLED
        assert status(stem, id).reason == "purged"
    assert run("queues", "purge", "billing", "--yes", app=name)[:2] == (
        0,
        "billing: nothing waits there\n",
    )


def test_a_queue_is_not_emptied_unasked(
    stem: Stem, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    enqueue(stem, "a")
    assert run("queues", "purge", "billing")[0] == 2
    monkeypatch.setattr(sys, "stdin", _Terminal("no\n"))
    code, out, err = run("queues", "purge", "billing")
    assert (code, out) == (1, "")
    assert "Cancel 1 waiting task of queue billing? [y/N]" in err
    assert held(stem, "a").place is Place.READY
    monkeypatch.setattr(sys, "stdin", _Terminal("yes\n"))
    assert run("queues", "purge", "billing")[:2] == (0, "billing: 1 task cancelled\n")


# ── jobs ─────────────────────────────────────────────────────────────────────


def test_a_running_task_is_shown_with_its_worker_and_its_lease(stem: Stem, run: Run) -> None:
    enqueue(stem, "a")
    lease(stem)
    code, out, _ = run("jobs", "show", "a")
    assert code == 0
    told = dict(line.split(None, 1) for line in out.splitlines())
    assert told["state"] == "running"
    assert told["worker"] == "w-1"
    assert told["broker"] == "holds it as leased"
    assert told["fence"] == "1"
    facts = json.loads(run("jobs", "show", "a", "--json")[1])
    assert facts["state"] == "running"
    assert facts["broker"]["worker"] == "w-1"
    assert 0 < facts["broker"]["lease_left_ms"] <= 30_000


def test_a_task_that_has_ended_is_shown_with_its_value_or_its_errors(stem: Stem, run: Run) -> None:
    enqueue(stem, "good", customer="rich")
    asyncio.run(burst(stem))
    kill(stem, "bad")
    code, out, _ = run("jobs", "show", "good")
    assert code == 0
    assert 'value     "rich"' in out
    assert "does not hold it any more" in out
    code, out, _ = run("jobs", "show", "bad")
    assert code == 0
    assert r"ValueError: card declined\x1b[2J" in out
    assert "\x1b" not in out
    assert json.loads(run("jobs", "show", "good", "--json")[1])["broker"] is None


def test_a_task_that_nobody_knows_is_not_found(run: Run) -> None:
    code, out, err = run("jobs", "show", "nobody")
    assert (code, out) == (3, "")
    assert "nobody knows a task 'nobody'" in err
    code, out, _ = run("jobs", "why", "nobody")
    assert code == 3
    assert "Nobody knows a task nobody at SharedBroker" in out


def test_why_a_task_waits_is_said_in_sentences(stem: Stem, run: Run) -> None:
    enqueue(stem, "a", "b")
    assert "behind up to 1 other" in run("jobs", "why", "a")[1]
    run("queues", "pause", "billing")
    code, out, _ = run("jobs", "why", "a")
    assert code == 0
    assert out.startswith("Its queue billing is paused")
    told = json.loads(run("jobs", "why", "a", "--json")[1])
    assert (told["state"], told["place"]) == ("queued", "ready")
    assert [each["code"] for each in told["because"]] == ["paused", "behind"]


def test_why_a_task_is_dead_ends_with_the_way_back(stem: Stem, run: Run) -> None:
    kill(stem, "a")
    assert run("jobs", "why", "a")[1].endswith("Put it back with: stem dlq replay a\n")


def test_jobs_can_be_looked_at_without_a_view_for_operators_and_without_a_backend(
    app: Any, stem: Stem, run: Run
) -> None:
    enqueue(stem, "a")
    assert run("jobs", "show", "a", app="bare")[0] == 0
    code, out, _ = run("jobs", "why", "a", app="bare")
    assert code == 0
    assert "how full that is, is not known" in out


def test_cancelling_says_of_each_what_became_of_it(stem: Stem, run: Run) -> None:
    enqueue(stem, "runs")
    lease(stem)
    enqueue(stem, "waits")
    code, out, _ = run("jobs", "cancel", "runs", "waits", "--reason", "a mistake")
    assert code == 0
    assert out.splitlines() == [
        "runs   requested: it runs, and its worker will be told",
        "waits  cancelled",
    ]
    assert status(stem, "waits").reason == "a mistake"
    assert held(stem, "runs").cancel_reason == "a mistake"
    assert run("jobs", "cancel", "waits")[:2] == (1, "waits  had ended before\n")
    code, out, _ = run("jobs", "cancel", "waits", "nobody", "--json")
    assert code == 3
    assert json.loads(out)["tasks"] == [
        {"id": "waits", "status": "finished"},
        {"id": "nobody", "status": "unknown"},
    ]


# ── what no operator can have ────────────────────────────────────────────────


@pytest.mark.parametrize(
    "command",
    [
        ["dlq", "list"],
        ["dlq", "replay", "--all"],
        ["dlq", "purge", "a"],
        ["queues", "list"],
        ["queues", "pause", "billing"],
        ["queues", "purge", "billing", "--yes"],
    ],
)
def test_a_broker_without_a_view_for_operators_is_refused(run: Run, command: list[str]) -> None:
    code, out, err = run(*command, app="bare")
    assert (code, out) == (4, "")
    assert "Bare offers operators nothing" in err


@pytest.mark.parametrize(
    ("command", "capability"),
    [
        (["dlq", "list"], "'dead_letters'"),
        (["dlq", "replay", "a"], "'dead_letters'"),
        (["queues", "pause", "billing"], "'pause'"),
        (["jobs", "cancel", "a"], "cannot cancel"),
    ],
)
def test_what_a_broker_cannot_do_is_refused(run: Run, command: list[str], capability: str) -> None:
    code, out, err = run(*command, app="simple")
    assert (code, out) == (4, "")
    assert capability in err


@pytest.mark.parametrize(
    "command",
    [
        ["dlq", "list"],
        ["dlq", "show", "a"],
        ["dlq", "replay", "a"],
        ["dlq", "purge", "a"],
        ["queues", "list"],
        ["queues", "pause", "billing"],
        ["queues", "resume", "billing"],
        ["queues", "purge", "billing", "--yes"],
        ["jobs", "show", "a"],
        ["jobs", "why", "a"],
        ["jobs", "cancel", "a"],
    ],
)
def test_a_broker_of_this_process_only_is_refused(run: Run, command: list[str]) -> None:
    code, out, err = run(*command, app="private")
    assert (code, out) == (4, "")
    assert "lives in this process only: it holds no task of any other process" in err


@pytest.mark.parametrize("verb", ["show", "why"])
def test_a_backend_of_this_process_only_is_refused(run: Run, verb: str) -> None:
    code, out, err = run("jobs", verb, "a", app="half")
    assert (code, out) == (4, "")
    assert "the result backend of SharedBroker lives in this process only" in err


@pytest.mark.parametrize(
    ("mistyped", "meant"),
    [
        (["dlq", "lst"], "list"),
        (["dlq", "repaly", "a"], "replay"),
        (["queues", "purg", "a"], "purge"),
        (["jobs", "wy", "a"], "why"),
    ],
)
def test_a_mistyped_word_is_answered_with_the_nearest(
    mistyped: list[str], meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(mistyped) == 2
    assert f"Did you mean {meant!r}?" in capsys.readouterr().err


def test_a_store_that_is_missing_is_one_clear_error() -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("STEM_")}
    ended = subprocess.run(
        [sys.executable, "-m", "stem_core", "queues", "list"],
        env=kept,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 4
    assert ended.stderr.startswith("Error: STEM_BROKER_URL is not set")
    assert not ended.stdout

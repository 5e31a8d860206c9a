"""The task of the demo, called as the plain function that it is."""

from __future__ import annotations

import hashlib
import time
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stem_core.cli import demo_tasks
from stem_core.cli.demo_journal import Journal
from stem_core.cli.demo_tasks import LEASE_MS, DeliberateFailure, FileFacts, measure
from stem_core.model.errors import Discard
from stem_core.producer.context import TaskContext


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=40), chunk=st.integers(1, 9))
def test_a_file_is_measured_the_same_however_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, chunk: int
) -> None:
    monkeypatch.setattr(demo_tasks, "_CHUNK", chunk)
    (tmp_path / "file").write_bytes(content)
    assert measure(TaskContext.for_testing(), str(tmp_path / "file")) == FileFacts(
        size=len(content),
        lines=content.count(b"\n"),
        words=len(content.split()),
        sha256=hashlib.sha256(content).hexdigest(),
    )


@pytest.mark.parametrize(("attempt", "fails"), [(1, True), (2, True), (3, False)])
def test_it_fails_as_often_as_it_is_told_to(tmp_path: Path, attempt: int, fails: bool) -> None:
    (tmp_path / "file").touch()
    context = TaskContext.for_testing(attempt=attempt)
    if fails:
        with pytest.raises(DeliberateFailure, match="on purpose"):
            measure(context, str(tmp_path / "file"), failures=2)
    else:
        assert measure(context, str(tmp_path / "file"), failures=2).size == 0


@pytest.mark.parametrize(
    ("name", "why"), [("gone", "No such file or directory"), (".", "Is a directory")]
)
def test_a_file_that_cannot_be_read_is_an_end_and_no_failure(
    tmp_path: Path, name: str, why: str
) -> None:
    with pytest.raises(Discard, match=why):
        measure(TaskContext.for_testing(), str(tmp_path / name))


def test_each_start_is_noted_also_of_an_attempt_that_fails(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    journal = Journal(str(tmp_path / "starts"))
    with pytest.raises(DeliberateFailure):
        measure(TaskContext.for_testing(), str(tmp_path / "file"), journal=journal.path, failures=1)
    measure(TaskContext.for_testing(attempt=2), str(tmp_path / "file"), journal=journal.path)
    assert [start.attempt for start in journal.news()] == [1, 2]


def test_its_lease_is_short_enough_to_be_watched() -> None:
    assert measure.options.visibility_timeout == timedelta(milliseconds=LEASE_MS)


def test_a_long_task_waits_for_its_file_and_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            (tmp_path / "sign").touch()

    monkeypatch.setattr(time, "sleep", sleep)
    (tmp_path / "file").touch()
    measure(TaskContext.for_testing(), str(tmp_path / "file"), until=str(tmp_path / "sign"))
    assert len(waits) == 3
    monkeypatch.setattr(demo_tasks, "_PATIENCE_S", 0)
    measure(TaskContext.for_testing(), str(tmp_path / "file"), until=str(tmp_path / "none"))
    assert len(waits) == 4

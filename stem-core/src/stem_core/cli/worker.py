"""`stem worker`: run the tasks of an application until a signal says to stop."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import platform
import sys
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any, Final, Literal, NoReturn

import click

from stem_core.cli.apps import load_app
from stem_core.cli.exits import ExitCode
from stem_core.cli.parameters import (
    argument,
    option,
    read_duration,
    read_queues,
    setting_option,
    whole_number,
)
from stem_core.cli.terminal import Paint, count_of, visible
from stem_core.contracts.capabilities import Durability
from stem_core.model.errors import ConfigError
from stem_core.model.settings import StemConfig
from stem_core.observe.log import LogObserver, configure_logging
from stem_core.producer.client import Stem
from stem_core.producer.lane import Lane
from stem_core.worker.worker import Worker

__all__ = ["worker"]

_LEVELS: Final = ("debug", "info", "warning", "error", "critical")
_FORMATS: Final = ("auto", "text", "json")
_DURABILITY: Final = {
    Durability.MEMORY: "what it holds ends with this process",
    Durability.CACHED: "what it holds survives any process, a power cut may take the last moments",
    Durability.SYNCED: "what it holds survives a power cut",
}
_ALONE: Final = (
    "no other process can send work to this worker. "
    "Good for an application that enqueues by itself; for all others set STEM_BROKER_URL"
)
_log: Final = logging.getLogger("stem.worker")


@click.command(short_help="Run the tasks of an application.")
@argument("app", envvar="STEM_APP")
@setting_option(
    "-q",
    "--queues",
    metavar="QUEUE[:WEIGHT],...",
    variable="STEM_WORKER_QUEUES",
    type=read_queues,
    help="Queues to serve; one with a higher weight is asked first more often.",
)
@setting_option(
    "-c",
    "--concurrency",
    metavar="N",
    variable="STEM_WORKER_CONCURRENCY",
    type=whole_number(1),
    help="Tasks to run at a time.",
)
@setting_option(
    "--threads",
    metavar="N",
    variable="STEM_WORKER_THREADS",
    type=whole_number(1),
    help="Threads for tasks that are plain functions.",
)
@setting_option(
    "--grace",
    metavar="DURATION",
    variable="STEM_WORKER_GRACE",
    type=read_duration,
    help="How long running tasks may go on after a signal.",
)
@option(
    "--name",
    metavar="NAME",
    variable="STEM_WORKER_NAME",
    help="What this worker is called in logs and records.",
)
@setting_option(
    "--log-level",
    metavar="LEVEL",
    variable="STEM_LOG_LEVEL",
    type=click.Choice(_LEVELS, case_sensitive=False),
    help=f"Log from this level up: {', '.join(_LEVELS)}.",
)
@setting_option(
    "--log-format",
    metavar="FORMAT",
    variable="STEM_LOG_FORMAT",
    type=click.Choice(_FORMATS),
    help="text, json, or auto: text on a terminal and JSON elsewhere.",
)
def worker(app: str, log_level: str | None, log_format: str | None, **how: Any) -> int:
    """Run the tasks of the application APP until a signal says to stop.

    APP is module:attr, such as shop.tasks:stem; without an attribute its app, then
    its stem is taken; module:make() calls a function that makes it.

    SIGTERM or Ctrl-C drains: nothing new is taken, and what runs may finish within
    the grace. A second signal hands it back at once, to another worker.

    APP can also be given as STEM_APP. An option wins over the settings that the
    application was given in code, and those win over the environment.

    Exit code 0 if it drained, 75 if unfinished tasks were handed back, 70 if a
    task would not end.
    """
    # Twice: the application may say something while it is imported, and have settings of its own.
    expected = _expected_settings()
    configure_logging(log_level or expected.log_level, _log_form(log_format or expected.log_format))
    stem = load_app(app)
    if not stem.registry.names():
        raise ConfigError(
            f"{app} has no task, so this worker could run nothing",
            way_out="Import the modules that define tasks where the Stem is made, "
            "or join their registries: stem.include(registry).",
        )
    form = _log_form(log_format or stem.config.log_format)
    configure_logging(log_level or stem.config.log_level, form)
    gc.freeze()  # what was imported stays: looking through it again costs 4 % of a task
    code = asyncio.run(_serve(stem, app, how, is_for_people=form == "text"))
    if code != ExitCode.OK:
        _leave(code)
    return code


def _expected_settings() -> StemConfig:
    """Return what the environment says, until the application is there to say more."""
    try:
        return StemConfig.from_environment(require_broker=False)
    except ConfigError:
        return StemConfig()  # told if the application looks at the environment too


def _leave(code: int) -> NoReturn:
    """End the process now, whatever a task that does not end still holds."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _log_form(wish: str) -> Literal["text", "json"]:
    """Decide for the log what `auto` means, and with it whether there is a banner."""
    if wish == "auto":
        return "text" if sys.stderr.isatty() else "json"
    return "text" if wish == "text" else "json"


async def _serve(stem: Stem, app: str, how: dict[str, Any], *, is_for_people: bool) -> int:
    """Run a worker until a signal stops it; return its exit code."""
    async with stem:
        lane = await stem.lane()
        runs = Worker(stem, observers=[LogObserver()], **how)
        await runs.start()
        runs.install_signals()  # before, there was nothing to drain
        if is_for_people:
            click.echo("\n".join(_banner(stem, lane, app, runs)), err=True)
        if not lane.capabilities.multiprocess:
            _log.warning(_ALONE)
        return await runs.ended()


def _banner(stem: Stem, lane: Lane, app: str, runs: Worker) -> Iterator[str]:
    """Say what has started, with what, and how it is ended."""
    paint = Paint.of(sys.stderr)
    facts = {
        "app": f"{app}, {count_of(len(stem.registry.names()), 'task')}",
        "broker": f"{lane.at} ({_DURABILITY[lane.capabilities.durability]})",
        "backend": _backend_of(lane),
        "queues": f"{', '.join(runs.queues)} × {runs.concurrency} at a time",
        "signer": _signer_of(stem),
        "worker": f"{runs.name}, pid {os.getpid()}",
    }
    yield paint(f"Stem {version('stem-core')} on Python {platform.python_version()}", "bold")
    yield from (f"  {name:<8} {visible(fact)}" for name, fact in facts.items())
    yield paint("Ctrl-C drains; a second one hands back what is unfinished.", "dim")


def _backend_of(lane: Lane) -> str:
    if lane.backend is None:
        return "none: nobody remembers results"
    if lane.atomic:
        return "the same store: a result commits with its acknowledgement"
    return type(lane.backend).__name__


def _signer_of(stem: Stem) -> str:
    signer = stem.pipeline.signer
    return ", ".join(signer.key_ids) if signer else "none: envelopes are not signed"

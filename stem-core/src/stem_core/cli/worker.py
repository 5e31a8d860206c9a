"""`stem worker`: run the tasks of an application until a signal says to stop.

Rule of this module: the options, and who serves them. A supervisor loads no application,
and what it takes to run tasks is not loaded for it either.
"""

from __future__ import annotations

from typing import Any, Final

import click

from stem_core.cli.completing import weighted_queues
from stem_core.cli.parameters import (
    argument,
    choice,
    option,
    read_address,
    read_duration,
    read_memory,
    read_queues,
    setting_option,
    whole_number,
)

__all__ = ["worker"]

_LEVELS: Final = ("debug", "info", "warning", "error", "critical")
_FORMATS: Final = ("auto", "text", "json")
_POLICIES: Final = ("off", "accept", "require")
_ARGUMENTS: Final = "stem_core.cli.worker.arguments"


class _Repeatable(click.Command):
    """Remembers what it was called with, for the processes that it may start."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read *args*."""
        ctx.meta[_ARGUMENTS] = tuple(args)
        if ctx.resilient_parsing and args and args[-1].startswith("-"):
            # Its value is being typed, and without it the parser would not come to APP.
            args = args[:-1]
        return super().parse_args(ctx, args)


@click.command(cls=_Repeatable, short_help="Run the tasks of an application.")
@argument("app", envvar="STEM_APP")
@setting_option(
    "-q",
    "--queues",
    metavar="QUEUE[:WEIGHT],...",
    variable="STEM_WORKER_QUEUES",
    type=read_queues,
    shell_complete=weighted_queues,
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
    "--processes",
    metavar="N",
    variable="STEM_WORKER_PROCESSES",
    type=whole_number(1),
    help="Processes that do so, each its share; from 2 on another one supervises them.",
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
@setting_option(
    "--signing-policy",
    metavar="POLICY",
    variable="STEM_SIGNING_POLICY",
    type=choice(_POLICIES),
    help="What to ask of signatures: off, accept (what nobody signed runs too) or require; "
    "without it require, as soon as there are keys.",
)
@setting_option(
    "--http",
    metavar="[HOST:]PORT",
    variable="STEM_WORKER_HTTP",
    type=read_address,
    help="Answer /livez, /readyz and /metrics there. Without HOST for this machine only; "
    "0.0.0.0:8080 for all who can reach it, 0 for a port that is free.",
)
@setting_option(
    "--max-tasks",
    metavar="N",
    variable="STEM_WORKER_MAX_TASKS",
    type=whole_number(1),
    help="Replace a process by a fresh one when it has done so many tasks.",
)
@setting_option(
    "--max-rss",
    metavar="SIZE",
    variable="STEM_WORKER_MAX_RSS",
    type=read_memory,
    help="Replace it when it holds so much memory, such as 512M.",
)
@option(
    "--reload",
    variable="STEM_WORKER_RELOAD",
    is_flag=True,
    help="Begin anew when a Python file in this folder changes; for development.",
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
    type=choice(_LEVELS, case_sensitive=False),
    help=f"Log from this level up: {', '.join(_LEVELS)}.",
)
@setting_option(
    "--log-format",
    metavar="FORMAT",
    variable="STEM_LOG_FORMAT",
    type=choice(_FORMATS),
    help="text, json, or auto: text on a terminal and JSON elsewhere.",
)
@click.pass_context
def worker(
    ctx: click.Context,
    /,
    app: str,
    processes: int | None,
    reload: bool,
    log_level: str | None,
    log_format: str | None,
    **how: Any,
) -> int:
    """Run the tasks of the application APP until a signal says to stop.

    APP is module:attr, such as shop.tasks:stem; without an attribute its app, then
    its stem is taken; module:make() calls a function that makes it.

    SIGTERM or Ctrl-C drains: nothing new is taken, and what runs may finish within
    the grace. A second signal hands it back at once, to another worker. A third one
    waits for nothing.

    With several processes, one that ends by itself is started again, after a pause
    that grows while it does not live long. The signals are for the supervisor: it
    tells the others, and kills who has not ended 15 seconds after the grace.

    With --max-tasks, --max-rss or --reload there is a supervisor for one process too. A
    process that has done enough drains, and is replaced at once.

    SIGHUP reads the signing keys again, unless the worker was started from a terminal.

    With --http the worker, or its supervisor for all processes, answers probes and
    Prometheus.

    APP can also be given as STEM_APP. An option wins over the settings that the
    application was given in code, and those win over the environment.

    Exit code 0 if it drained, 75 if unfinished tasks were handed back, 70 if a
    task would not end, 5 if it could not poll for too long. With several processes
    the worst of theirs, or 69 if none of them came up.

    \b
    stem worker shop.tasks
    stem worker shop.tasks --queues billing:8,default --processes 4 --http 8080
    stem worker shop.tasks --reload --log-level debug
    """
    arguments = ctx.meta[_ARGUMENTS]
    logs = {"log_level": log_level, "log_format": log_format}
    is_tied = ctx.obj is not None
    # One that is replaced from time to time needs somebody who does it. Without a number the
    # application says how many there are.
    is_replaced = how["max_tasks"] or how["max_rss"]
    if not is_tied and (reload or (processes and (processes > 1 or is_replaced))):
        from stem_core.cli.processes import supervise

        return supervise(processes, arguments, name=how["name"], reload=reload, **logs)
    from stem_core.cli.serving import Serving

    serving = Serving(app, ctx.obj, **logs)
    config = serving.stem.config
    count = processes or config.worker_processes
    is_replaced = is_replaced or config.worker_max_tasks or config.worker_max_rss
    if not is_tied and (count > 1 or is_replaced):
        from stem_core.cli.processes import become_supervisor

        become_supervisor(count, arguments, config.worker_max_tasks, config.worker_max_rss)
    return serving.run(how, processes=count)

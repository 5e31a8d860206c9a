"""The variables that nothing but options of the `stem` program reads.

Rule of this module: names only, for judging which variable nobody reads. What each one
does stands beside its option; a test holds this table equal to the commands.
"""

from __future__ import annotations

from typing import Final

__all__ = ["COMMAND_VARIABLES"]

_OPTIONS: Final = {
    "CERTIFY": "BACKEND JOBS JSON LEVEL SEED VERIFIER",
    "DEMO": "ALL BROKER CONCURRENCY FOLDER JSON KEEP PROCESSES",
    "WORKER": "NAME RELOAD",
    "ENQUEUE": "DELAY HEADER ID JSON MAX_RETRIES META NOT_BEFORE PRIORITY QUEUE WAIT",
    "RESULT": "JSON WAIT",
    "JOBS_SHOW": "JSON",
    "JOBS_WHY": "JSON",
    "JOBS_CANCEL": "JSON REASON",
    "QUEUES_LIST": "JSON",
    "QUEUES_PAUSE": "JSON",
    "QUEUES_RESUME": "JSON",
    "QUEUES_PURGE": "JSON YES",
    "DLQ_LIST": "ALL CURSOR JSON LIMIT QUEUE",
    "DLQ_SHOW": "JSON",
    "DLQ_REPLAY": "ALL JSON QUEUE REASON TASK",
    "DLQ_PURGE": "ALL JSON OLDER_THAN QUEUE REASON YES",
    "PLUGINS": "CHECK JSON TIMEOUT",
    "PLUGINS_NEW": "INTO KIND",
    "PLUGINS_SHOW": "JSON",
    "CONFIG_SHOW": "JSON ORIGIN",
    "VERSION": "JSON",
}

COMMAND_VARIABLES: Final = frozenset(
    f"STEM_{command}_{option}"
    for command, options in _OPTIONS.items()
    for option in options.split()
)
"""All of them; an option that reads a setting is not here, for a field has that name."""

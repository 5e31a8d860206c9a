"""How a worker logs: what is set up before its application is there, and what `auto` means."""

from __future__ import annotations

import sys
from typing import Literal

from stem_core.model.errors import ConfigError
from stem_core.model.settings import StemConfig
from stem_core.observe.log import Facts, configure_logging

__all__ = ["log_as", "log_as_expected"]

Form = Literal["text", "json"]


def log_as(level: str, wish: str, facts: Facts | None = None) -> Form:
    """Log from *level* up in the form that *wish* means; return that form.

    Who is told in text is shown a banner too. *facts* tells what is bound to the task
    that logs.
    """
    form = _form(wish)
    configure_logging(level, form, facts=facts)
    return form


def log_as_expected(level: str | None, wish: str | None) -> Form:
    """Log as the options say, else as the environment does, until the application says more."""
    try:
        expected = StemConfig.from_environment(require_broker=False)
    except ConfigError:
        expected = StemConfig()  # told if the application looks at the environment too
    return log_as(level or expected.log_level, wish or expected.log_format)


def _form(wish: str) -> Form:
    if wish == "auto":
        return "text" if sys.stderr.isatty() else "json"
    return "text" if wish == "text" else "json"

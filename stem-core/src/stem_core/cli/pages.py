"""What a worker answers over HTTP (`--http`), and where.

Rule of this module: which page says what. Counting is `observe.metrics`, HTTP is
`observe.pages`. No page tells an argument, a result, a URL or the text of an error.
"""

from __future__ import annotations

import json
import logging
import platform
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from importlib.metadata import version
from typing import Final

from stem_core.model.errors import ConfigError
from stem_core.model.settings.listening import Listening
from stem_core.observe.exposition import CONTENT_TYPE, exposition
from stem_core.observe.families import Row
from stem_core.observe.pages import Page, Pages, PagesServer

__all__ = [
    "identity",
    "listening_of",
    "metrics_page",
    "pages_of",
    "ready_page",
    "serving_pages",
]

_log: Final = logging.getLogger("stem.worker")


def listening_of(text: str) -> Listening:
    """Return the address that the setting *text* is.

    Raises:
        ConfigError: it is none.
    """
    try:
        return Listening.parse(text)
    except ValueError as error:
        raise ConfigError(f"STEM_WORKER_HTTP={text!r}: {error}", way_out="--http 8080") from None


@asynccontextmanager
async def serving_pages(at: Listening, pages: Pages) -> AsyncIterator[Listening]:
    """Serve *pages*, and give where: a port 0 is the one that the system chose.

    Raises:
        ConfigError: nobody can listen there.
    """
    server = PagesServer(pages)
    try:
        port = await server.start(at.host, at.port)
    except OSError as error:
        raise ConfigError(
            f"the worker cannot answer at {at}: {error.strerror or error}",
            way_out="Is another worker there? Give each of them a port of its own, or --http 0 "
            "for one that is free.",
        ) from None
    found = Listening(at.host, port)
    facts = {"event": "worker-listens", "url": found.url}
    _log.info("%s answers %s", found.url, ", ".join(pages), extra={"stem_facts": facts})
    try:
        yield found
    finally:
        await server.aclose()


# ── the pages ────────────────────────────────────────────────────────────────


def pages_of(
    livez: Callable[[], Awaitable[Page]],
    readyz: Callable[[], Awaitable[Page]],
    metrics: Callable[[], Awaitable[Page]],
) -> Pages:
    """Return the pages under the paths that probes expect."""
    return {"/livez": livez, "/readyz": readyz, "/metrics": metrics}


def ready_page(why_not: str, **facts: int) -> Page:
    """Return the answer of a readiness probe; *why_not* is empty for a good one."""
    body = {"ready": not why_not, **({"reason": why_not} if why_not else {}), **facts}
    return Page(
        status=HTTPStatus.SERVICE_UNAVAILABLE if why_not else HTTPStatus.OK,
        content_type="application/json",
        body=json.dumps(body) + "\n",
    )


def metrics_page(rows: Sequence[Row]) -> Page:
    """Return *rows* for Prometheus."""
    return Page(content_type=CONTENT_TYPE, body=exposition(rows))


def identity(started_s: float) -> list[Row]:
    """Return what runs here, and since when."""
    what = (version("stem-core"), platform.python_version())
    return [
        Row("stem_build_info", what, [1]),
        Row("process_start_time_seconds", (), [started_s]),
    ]

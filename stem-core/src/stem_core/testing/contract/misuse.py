"""What an author can get wrong, each said in one sentence with the way out."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from stem_core.model.errors import StemError, WrongLoop

__all__ = ["Misuse", "call", "of_loop", "unreachable", "wrong_type"]


class Misuse(Exception):
    """What was given to the kit cannot be tested; says what to give."""


def call(source: Callable[..., Any], fixture: str) -> Any:
    """Return what the factory *source* gives when it is called with nothing."""
    try:
        inspect.signature(source).bind()
    except TypeError as error:
        raise Misuse(
            f"the factory that `{fixture}` gives is called without arguments: {error}"
        ) from None
    except ValueError:  # a builtin without a signature: calling it will tell
        pass
    try:
        return source()
    except RuntimeError as error:
        if "cannot be called from a running event loop" not in str(error):
            raise
        raise Misuse(
            f"the factory that `{fixture}` gives starts an event loop, and one is running: "
            "write it as `async def` and await in it"
        ) from None


def wrong_type(fixture: str, given: object, wanted: str) -> Misuse:
    """Say what `fixture` gave instead of what is *wanted*."""
    if inspect.iscoroutine(given):
        given.close()  # say what is wrong, not that it was never awaited
    return Misuse(f"`{fixture}` gave {_shown(given)}; {wanted}")


def _shown(given: object) -> str:
    if given is None or given == "":
        return "nothing"
    if inspect.iscoroutine(given) or inspect.isasyncgen(given):
        return f"a {type(given).__name__}, for it is `async def` and nobody awaited it"
    return f"a {type(given).__name__} ({given!r:.60})"


def unreachable(fixture: str, url: str, error: StemError) -> Misuse:
    """Say that *url*, which is shown without secrets, does not open."""
    return Misuse(f"`{fixture}` gave {url}, which does not open: {error}")


def of_loop(error: BaseException, fixture: str) -> Misuse | None:
    """Read *error* as one of a handle that lives in the wrong event loop, if it is one."""
    if isinstance(error, WrongLoop):
        return Misuse(
            f"`{fixture}` gave a handle that another event loop has used before ({error.message}): "
            "let the factory open a new one at each call"
        )
    if isinstance(error, RuntimeError) and _is_about_loops(str(error)):
        return Misuse(
            f"`{fixture}` gave a handle whose event loop is not the test's ({error}): "
            "let the factory open it when it is called, in the running loop, and close nothing"
        )
    return None


def _is_about_loops(text: str) -> bool:
    return "Event loop is closed" in text or "attached to a different loop" in text

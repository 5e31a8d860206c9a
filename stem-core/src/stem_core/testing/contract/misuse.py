"""What an author can get wrong, each said in one sentence with the way out."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from traceback import extract_tb
from typing import Any

from stem_core.model.errors import StemError, WrongLoop

__all__ = ["Misuse", "call", "left_behind", "made", "of_loop", "unreachable", "wrong_type"]

_OF_ANOTHER_LOOP = (
    "Event loop is closed",
    "attached to a different loop",
    "bound to a different event loop",
)
"""How asyncio says that something was made in, or for, a loop that is not the running one."""


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
    except Exception as error:
        raise _raised(error, fixture) from error


async def made(given: Awaitable[Any], fixture: str) -> Any:
    """Return what an async factory gives, or the stage of a URL."""
    try:
        return await given
    except Exception as error:
        raise _raised(error, fixture) from error


def _raised(error: Exception, fixture: str) -> Misuse:
    if isinstance(error, Misuse):
        return error
    if "cannot be called from a running event loop" in str(error):
        return Misuse(
            f"the factory that `{fixture}` gives starts an event loop, and one is running: "
            "write it as `async def` and await in it"
        )
    if about_loops := of_loop(error, fixture):
        return about_loops
    where = extract_tb(error.__traceback__)[-1]
    return Misuse(
        f"the factory that `{fixture}` gives raised {type(error).__name__}: {error} "
        f"({Path(where.filename).name}:{where.lineno}, in {where.name}); call it by itself to "
        "see more"
    )


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


def left_behind(fixture: str, store_id: str, what: str) -> Misuse:
    """Say that a test met *what* an earlier one has left in the same store."""
    return Misuse(
        f"`{fixture}` gave the store {store_id} a second time, and {what} of an earlier test is "
        "in it: let the factory give each call a namespace of its own"
    )


def of_loop(error: BaseException, fixture: str) -> Misuse | None:
    """Read *error* as one of a handle that lives in the wrong event loop, if it is one."""
    for each in _with_causes(error):
        if isinstance(each, WrongLoop):
            return Misuse(
                f"`{fixture}` gave a handle that another event loop has used before "
                f"({each.message}): let the factory open a new one at each call"
            )
        if isinstance(each, RuntimeError) and _is_about_loops(str(each)):
            return Misuse(
                f"`{fixture}` gave a handle whose event loop is not the test's ({each}): "
                "let the factory open it when it is called, in the running loop, and close nothing"
            )
    return None


def _with_causes(error: BaseException) -> Iterator[BaseException]:
    """Yield *error* and what it was raised from: a broker may have translated it."""
    cause: BaseException | None = error
    seen: set[int] = set()
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__


def _is_about_loops(text: str) -> bool:
    return any(words in text for words in _OF_ANOTHER_LOOP)

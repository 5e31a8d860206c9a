"""What a page becomes before it is rendered: the navigation, file names, links that lead out.

Pages are plain Markdown that every viewer of the source tree shows; what only a site needs is
added to what is read, never to the files.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from posixpath import dirname, normpath, relpath
from typing import Final

from stem_core.model import errors

__all__ = ["BENCHMARKS", "DECISIONS", "HOME", "anchor_of_error", "as_read"]

ROOT: Final = Path(__file__).parents[3]
HOME: Final = "index"
BENCHMARKS: Final = "explanation/benchmarks"
DECISIONS: Final = "decisions/README"
_RESULTS: Final = (
    *("README.md", "RESULTS.md", "RESULTS-POSTGRES.md", "RESULTS-SQLITE.md", "RESULTS-MEMORY.md"),
    "RESULTS-SIGNING.md",
    "RESULTS-IMPORTS.md",
)
_LINK: Final = re.compile(r"(?<!!)\[([^\[\]]+)\]\((?!\w+:|#)([^)#\s]+)(#[^)\s]*)?\)")
_TITLED: Final = re.compile(r'^```(\w+) title="([^"]+)"$', re.MULTILINE)


def as_read(page: str, text: str, navigation: Mapping[str, Sequence[str]]) -> str:
    """Return the *text* of *page*, which is a path below `docs/` without its suffix."""
    if page == HOME:
        text += "".join(_contents(navigation))
    if page == DECISIONS:
        text += "\n```{toctree}\n:glob:\n\n0*\n```\n"
    if page == BENCHMARKS:
        text += "".join(_results())
    text = _LINK.sub(lambda found: _link(page, *found.groups("")), text)
    return _TITLED.sub(_named, text)


def anchor_of_error(error: type[object]) -> str:
    """Return the section of the page of errors where *error* stands."""
    families = [each for each in error.__mro__ if errors.StemError in each.__bases__]
    if error is errors.StemError or families:
        return (families or [error])[0].__name__.lower()
    if error is errors.Fault:
        return "what-failed-at-a-store"
    return "what-a-task-raises-to-say-how-it-ends"


def _named(found: re.Match[str]) -> str:
    """Return the opening of a block with its name above it, letter by letter: `__init__.py`."""
    name = re.sub(r"([\\`*_])", r"\\\1", found[2])
    return f"```{{code-block}} {found[1]}\n:caption: {name}\n"


def _contents(navigation: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Yield one hidden table of contents for each section of the navigation."""
    for caption, pages in navigation.items():
        options = [":hidden:", f":caption: {caption}", ""]
        yield "\n".join(["\n```{toctree}", *options, *pages, "```\n"])


def _results() -> Iterator[str]:
    """Yield what was measured, one section for each file."""
    for name in _RESULTS:
        text = (ROOT / "benchmarks" / name).read_text("utf-8")
        text = re.sub(r"^#", "##", text, flags=re.MULTILINE)
        yield "\n" + re.sub(r"\]\((R\w)", r"](../../benchmarks/\1", text)


def _link(page: str, words: str, to: str, anchor: str) -> str:
    """Return a link as it is, or what takes its place if it leads out of the documentation."""
    path = normpath(f"docs/{dirname(page)}/{to}")
    if path.startswith("docs/"):
        return f"[{words}]({to}{anchor})"
    if path.startswith("benchmarks/") and path.endswith(".md"):
        there = relpath(BENCHMARKS, dirname(page) or ".")
        return f"[{words}]({there}.md#{_anchor_of_results(path.partition('/')[2])})"
    if words.strip("`") == path:
        return f"`{path}` in the source tree"
    return f"{words} (`{path}` in the source tree)"


def _anchor_of_results(name: str) -> str:
    """Return where the file *name* of the benchmarks is on their page."""
    title = (ROOT / "benchmarks" / name).read_text("utf-8").partition("\n")[0].removeprefix("# ")
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")

"""What Sphinx does beside rendering: the navigation, file names, pictures, links.

The pages are plain Markdown that every viewer of the source tree shows; what only a site can
do is done here, to what Sphinx reads, never to the files.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from posixpath import dirname, normpath, relpath
from typing import Any, Final

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.nodes import make_refnode

from stem_core.model import errors

ROOT: Final = Path(__file__).parents[2]
BENCHMARKS: Final = "explanation/benchmarks"
DECISIONS: Final = "decisions/README"
_RESULTS: Final = (
    *("README.md", "RESULTS.md", "RESULTS-POSTGRES.md", "RESULTS-SQLITE.md", "RESULTS-MEMORY.md"),
    "RESULTS-SIGNING.md",
)
_LINK: Final = re.compile(r"\[([^\[\]]+)\]\((?!\w+:|#)([^)#\s]+)(#[^)\s]*)?\)")
_TITLED: Final = re.compile(r'^```(\w+) title="([^"]+)"$', re.MULTILINE)


def setup(app: Sphinx) -> dict[str, bool]:
    """Hook everything in."""
    app.add_config_value("stem_navigation", {}, "env")
    app.connect("source-read", read)
    app.connect("missing-reference", resolve)
    app.add_post_transform(InlinePictures)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def read(app: Sphinx, docname: str, source: list[str]) -> None:
    """Change what Sphinx reads of a page."""
    text = source[0]
    if docname == app.config.root_doc:
        text += "".join(navigation(app.config.stem_navigation))
    if docname == DECISIONS:
        text += "\n```{toctree}\n:glob:\n\n0*\n```\n"
    if docname == BENCHMARKS:
        text += "".join(results())
    text = _LINK.sub(lambda found: link(docname, *found.groups("")), text)
    source[0] = _TITLED.sub(r"```{code-block} \1\n:caption: \2\n", text)


def navigation(sections: dict[str, list[str]]) -> Iterator[str]:
    """Yield one hidden table of contents for each section."""
    for caption, pages in sections.items():
        options = [":hidden:", f":caption: {caption}", ""]
        yield "\n".join(["\n```{toctree}", *options, *pages, "```\n"])


def results() -> Iterator[str]:
    """Yield what was measured, one section for each file."""
    for name in _RESULTS:
        text = (ROOT / "benchmarks" / name).read_text("utf-8")
        text = re.sub(r"^#", "##", text, flags=re.MULTILINE)
        yield "\n" + re.sub(r"\]\((R\w)", r"](../../benchmarks/\1", text)


def anchor_of_results(name: str) -> str:
    """Return where the file *name* of the benchmarks is on their page."""
    title = (ROOT / "benchmarks" / name).read_text("utf-8").partition("\n")[0].removeprefix("# ")
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


def link(docname: str, words: str, to: str, anchor: str) -> str:
    """Return a link as it is, or what takes its place if it leads out of the documentation."""
    path = normpath(f"docs/{dirname(docname)}/{to}")
    if path.startswith("docs/"):
        return f"[{words}]({to}{anchor})"
    if path.startswith("benchmarks/") and path.endswith(".md"):
        page = relpath(BENCHMARKS, dirname(docname) or ".")
        return f"[{words}]({page}.md#{anchor_of_results(path.partition('/')[2])})"
    return f"{words} (`{path}` in the source tree)"


def resolve(app: Sphinx, env: Any, node: Any, content: nodes.Element) -> nodes.Element | None:
    """Find what a docstring names by its last name alone; an error is on its own page."""
    if node.get("refdomain") != "py":
        return None
    name = node["reftarget"].rpartition(".")[2]
    error = getattr(errors, name, None) if name in errors.__all__ else None
    if error is not None:
        return make_refnode(
            app.builder, node["refdoc"], "reference/errors", anchor_of(error), content
        )
    found = [each for each in env.get_domain("py").get_objects() if last_of(each) == name]
    targets = {(each[3], each[4]) for each in found if not name.islower()}
    if len(targets) != 1:
        return None
    ((page, place),) = targets
    return make_refnode(app.builder, node["refdoc"], page, place, content)


def last_of(described: tuple[Any, ...]) -> str:
    """Return the last name of what a domain describes."""
    return str(described[0]).rpartition(".")[2]


def anchor_of(error: type[Any]) -> str:
    """Return the section of the page of errors where *error* stands."""
    families = [each for each in error.__mro__ if errors.StemError in each.__bases__]
    if families:
        return families[0].__name__.lower()
    return {
        errors.StemError: "stemerror",
        errors.Fault: "what-failed-at-a-store",
    }.get(error, "what-a-task-raises-to-say-how-it-ends")


class InlinePictures(SphinxPostTransform):
    """Pictures of ours go into the page: only so do they take its colours, light or dark."""

    default_priority = 100
    formats = ("html",)

    def run(self, **_: Any) -> None:
        """Replace each of them by its own text, in a box that scrolls when it is too wide."""
        for node in list(self.document.findall(nodes.image)):
            place = Path(self.env.srcdir) / node["uri"]
            if place.parent.name != "pictures":
                continue
            svg = place.read_text("utf-8")
            html = f'<div class="stem-picture stem-{place.stem}" tabindex="0">{svg}</div>'
            node.replace_self(nodes.raw("", html, format="html"))

"""Stem's own part of Sphinx: it reads pages as `stem_docs.reading` says, inlines pictures, and
finds what docstrings name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.nodes import make_refnode

from stem_core.model import errors
from stem_docs.reading import anchor_of_error, as_read


def setup(app: Sphinx) -> dict[str, bool]:
    """Hook everything in."""
    app.add_config_value("stem_navigation", {}, "env")
    app.connect("source-read", read)
    app.connect("missing-reference", resolve)
    app.add_post_transform(InlinePictures)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def read(app: Sphinx, docname: str, source: list[str]) -> None:
    """Change what Sphinx reads of a page."""
    source[0] = as_read(docname, source[0], app.config.stem_navigation)


def resolve(app: Sphinx, env: Any, node: Any, content: nodes.Element) -> nodes.Element | None:
    """Find what a docstring names by its last name alone; an error is on its own page."""
    if node.get("refdomain") != "py":
        return None
    name = node["reftarget"].rpartition(".")[2]
    if name in errors.__all__:
        place = "reference/errors", anchor_of_error(getattr(errors, name))
    elif found := class_named(env, name):
        place = found
    else:
        return None
    return make_refnode(app.builder, node["refdoc"], *place, content)


def class_named(env: Any, name: str) -> tuple[str, str] | None:
    """Return page and anchor of the one class of that *name*; None if there are several."""
    objects = env.get_domain("py").get_objects()
    places = {(each[3], each[4]) for each in objects if each[0].rpartition(".")[2] == name}
    return places.pop() if len(places) == 1 and not name.islower() else None


class InlinePictures(SphinxPostTransform):
    """Pictures of ours go into the page: only so do they take its colours, light or dark."""

    default_priority = 100
    formats = ("html",)

    def run(self, **_: Any) -> None:
        """Replace each of them by its own text, in a box that scrolls when it is too wide."""
        for node in list(self.document.findall(nodes.image)):
            place = Path(self.env.srcdir) / node["uri"]
            if place.parent.name == "pictures":
                kind = f"stem-picture stem-{place.stem}"
                html = f'<div class="{kind}" tabindex="0">{place.read_text("utf-8")}</div>'
                node.replace_self(nodes.raw("", html, format="html"))

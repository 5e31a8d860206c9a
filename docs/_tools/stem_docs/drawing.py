"""Lines, boxes and words as SVG, legible in light and dark.

Rule of this module: coordinates are in pixels of the picture, and colours come from the page
that shows it; one that stands alone has its own, by what the reader's system prefers.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Final, Literal

__all__ = ["Anchor", "arrow", "box", "document", "shape", "text"]

Anchor = Literal["start", "middle", "end"]

_STYLE: Final = """\
.stem-drawing {
  --ink: #1f2328; --soft: #59636e; --line: #59636e; --paper: #ffffff; --fill: #eef2f7;
  --accent: #0a4bff;
  font-family: ui-sans-serif, system-ui, sans-serif;
}
@media (prefers-color-scheme: dark) {
  .stem-drawing {
    --ink: #f0f6fc; --soft: #a6b0bb; --line: #9198a1; --paper: #131416; --fill: #22272e;
    --accent: #6da3ff;
  }
}
.stem-drawing text { fill: var(--color-foreground-primary, var(--ink)); font-size: 13px; }
.stem-drawing .soft { fill: var(--color-foreground-secondary, var(--soft)); font-size: 12px; }
.stem-drawing .name { font-weight: 600; }
.stem-drawing .code { font-family: ui-monospace, monospace; font-size: 12px; }
.stem-drawing .box {
  fill: var(--color-background-secondary, var(--fill));
  stroke: var(--color-foreground-muted, var(--line));
}
.stem-drawing .inner { fill: var(--color-background-primary, var(--paper)); }
.stem-drawing .end { stroke-width: 2; }
.stem-drawing .edge { fill: none; stroke: var(--color-foreground-muted, var(--line)); }
.stem-drawing .dashed { stroke-dasharray: 4 3; }
.stem-drawing .head { fill: var(--color-foreground-muted, var(--line)); }
.stem-drawing .mark { stroke: var(--color-brand-content, var(--accent)); }
"""
_HEAD: Final = (
    '<marker id="{name}-head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" '
    'markerHeight="7" orient="auto-start-reverse"><path class="head" d="M0 0 10 5 0 10z"/></marker>'
)


def document(
    name: str, size: tuple[int, int], title: str, parts: Iterable[str], *, about: str
) -> str:
    """Return a whole picture.

    *name* is unique among the pictures of a page; *title* and *about* are what somebody hears
    who cannot see it.
    """
    width, height = size
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="stem-drawing" viewBox="0 0 {width} '
        f'{height}" width="{width}" height="{height}" role="img" '
        f'aria-labelledby="{name}-title {name}-about">',
        f'<title id="{name}-title">{escape(title)}</title>',
        f'<desc id="{name}-about">{escape(about)}</desc>',
        f"<style>\n{_STYLE}</style>",
        f"<defs>{_HEAD.format(name=name)}</defs>",
        *parts,
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def box(x: float, y: float, width: float, height: float, kind: str = "") -> str:
    """Return a box with its upper left corner at *x*, *y*."""
    return (
        f'<rect class="{_classes("box", kind)}" x="{x:g}" y="{y:g}" width="{width:g}" '
        f'height="{height:g}" rx="5"/>'
    )


def shape(points: Iterable[tuple[float, float]], kind: str = "") -> str:
    """Return a closed shape through *points*."""
    corners = " ".join(f"{x:g},{y:g}" for x, y in points)
    return f'<polygon class="{_classes("box", kind)}" points="{corners}"/>'


def text(x: float, y: float, words: str, kind: str = "", anchor: Anchor = "middle") -> str:
    """Return *words* with the middle of their line at *y*."""
    return (
        f'<text class="{kind}" x="{x:g}" y="{y:g}" text-anchor="{anchor}" '
        f'dominant-baseline="central">{escape(words)}</text>'
    )


def arrow(name: str, path: str, kind: str = "") -> str:
    """Return an arrow along *path*, in the picture of that *name*."""
    return f'<path class="{_classes("edge", kind)}" d="{path}" marker-end="url(#{name}-head)"/>'


def _classes(*names: str) -> str:
    return " ".join(filter(None, names))

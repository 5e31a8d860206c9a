"""Write every generated page and picture: ``python -m stem_docs``; see `stem_docs.pages`."""

from __future__ import annotations

from stem_docs.pages import DOCS, PAGES

for place, rendered in PAGES.items():
    (DOCS / place).parent.mkdir(parents=True, exist_ok=True)
    (DOCS / place).write_text(rendered(), "utf-8")
    print(f"docs/{place} is written")

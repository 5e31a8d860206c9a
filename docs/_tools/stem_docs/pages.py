"""Which page or picture comes from which function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from stem_core.cli.reference import reference_markdown as commands_page
from stem_core.model.settings.reference import reference_markdown as settings_page
from stem_docs.errors import errors_page
from stem_docs.hooks import hooks_page
from stem_docs.house import house
from stem_docs.inside import crew, rounds
from stem_docs.states import states, states_table
from stem_docs.stores import capabilities_page, urls_page
from stem_docs.way import way

__all__ = ["DOCS", "PAGES", "semantics_page"]

DOCS: Final = Path(__file__).parents[2]
_SEMANTICS: Final = "core-concepts/delivery-semantics.md"
_BEGIN, _END = "<!-- states:begin -->\n", "<!-- states:end -->"


def semantics_page() -> str:
    """Return the page on delivery semantics with its table of transitions made anew."""
    head, _, rest = (DOCS / _SEMANTICS).read_text("utf-8").partition(_BEGIN)
    return f"{head}{_BEGIN}{states_table()}{_END}{rest.partition(_END)[2]}"


PAGES: Final[Mapping[str, Callable[[], str]]] = {
    "pictures/crew.svg": crew,
    "pictures/house.svg": house,
    "pictures/rounds.svg": rounds,
    "pictures/way.svg": way,
    "pictures/states.svg": states,
    "reference/capabilities.md": capabilities_page,
    "reference/cli.md": commands_page,
    "reference/configuration.md": settings_page,
    "reference/errors.md": errors_page,
    "reference/hooks.md": hooks_page,
    "reference/urls.md": urls_page,
    _SEMANTICS: semantics_page,
}
"""The place of each below `docs/`."""

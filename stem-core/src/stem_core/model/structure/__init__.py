"""From JSON values and option texts to the types that users declare, strictly, and back.

Nothing is coerced: ``"7"`` is no int, ``True`` is no int, 7.9 is no int; an int is
a float where a float is asked for. Every problem is reported at once, with its path.

Rule of this package: cattrs lives in `classes` and is imported when the first
class is met, because it doubles the time that Stem needs to start.
"""

from __future__ import annotations

from stem_core.model.structure.arguments import (
    is_plain_json,
    plan,
    structure,
    structure_arguments,
    unstructure,
)
from stem_core.model.structure.checks import Check
from stem_core.model.structure.parameters import (
    OptionInfo,
    TextReader,
    default_text,
    describe_options,
    describe_type,
    expected_one_of,
    options_from_query,
    shown_value,
    text_reader,
)

__all__ = [
    "Check",
    "OptionInfo",
    "TextReader",
    "default_text",
    "describe_options",
    "describe_type",
    "expected_one_of",
    "is_plain_json",
    "options_from_query",
    "plan",
    "shown_value",
    "structure",
    "structure_arguments",
    "text_reader",
    "unstructure",
]

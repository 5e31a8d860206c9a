"""Finding the Stem that a test configuration names.

Rule of this module: the Python path is pytest's to set, and stays as it is. What a
module of the user's raises while it is imported is for the user to see as it is.
"""

from __future__ import annotations

import re
from importlib import import_module
from operator import attrgetter
from types import ModuleType
from typing import Final

from stem_core.model.errors import ConfigError
from stem_core.producer.client import Stem

__all__ = ["app_named"]

_NAME: Final = r"[^\W\d]\w*(?:\.[^\W\d]\w*)*"
_ADDRESS: Final = re.compile(rf"({_NAME}):({_NAME})")
_FORM: Final = "Write module:attribute, as in stem_app = shop.tasks:stem."


def app_named(text: str) -> Stem:
    """Return the Stem that *text* names as ``module:attribute``; a new one if it is empty.

    Raises:
        ConfigError: there is none, as the value of the ini option ``stem_app``.
    """
    if not (text := text.strip()):
        return Stem()
    match = _ADDRESS.fullmatch(text)
    if match is None:
        raise _wrong(text, "this is not module:attribute", _FORM)
    module = _imported(match[1], text)
    try:
        found = attrgetter(match[2])(module)
    except AttributeError:
        raise _wrong(text, f"{match[1]} has no {match[2]!r}", _instead(module)) from None
    if not isinstance(found, Stem):
        raise _wrong(text, f"this is of type {type(found).__name__}, not a Stem", _instead(module))
    return found


def _imported(name: str, text: str) -> ModuleType:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # it is there, and misses something itself
        raise _wrong(
            text,
            f"there is no module {error.name!r} on the Python path",
            "The ini option pythonpath adds folders to it, as in pythonpath = src.",
        ) from None


def _instead(module: ModuleType) -> str:
    names = [name for name, value in vars(module).items() if isinstance(value, Stem)]
    written = " or ".join(f"stem_app = {module.__name__}:{name}" for name in names)
    return f"Write {written}." if written else f"There is no Stem in {module.__name__}. {_FORM}"


def _wrong(text: str, what: str, way_out: str) -> ConfigError:
    return ConfigError(f"the ini option stem_app = {text}: {what}", way_out=way_out)

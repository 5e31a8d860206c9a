"""Finding the application that a command names: ``module:attr``, and what was found instead.

Rule of this module: user code runs while it is imported here and may raise
anything. Every way to be wrong ends in one `ConfigError` that says what was
looked for, what was found, and what to write.
"""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Iterator
from importlib import import_module
from types import FunctionType, ModuleType
from typing import Final

from attrs import frozen

from stem_core.cli.failures import nearest
from stem_core.model.errors import ConfigError, StemError
from stem_core.producer.client import Stem

__all__ = ["Address", "AppAt", "load_app"]

_STEM: Final = os.path.join(os.path.dirname(os.path.dirname(__file__)), "")
_STANDARD: Final = os.path.join(os.path.dirname(os.__file__), "")
_DEFAULT_NAMES: Final = ("app", "stem")
_SHOWN: Final = 5
_NAME: Final = r"[^\W\d]\w*"
_ADDRESS: Final = re.compile(
    rf"(?P<module>{_NAME}(?:\.{_NAME})*)(?::(?P<attribute>{_NAME}(?:\.{_NAME})*)(?P<call>\(\))?)?"
)
_FORM: Final = (
    "Write module:attr as in shop.tasks:app, or shop.tasks for its 'app' or 'stem', "
    "or shop.tasks:make() for a function that makes it."
)


@frozen(kw_only=True)
class Address:
    """Where an application is.

    Attributes:
        module: a dotted name to import.
        attribute: a dotted name in it; empty for the usual ones.
        is_factory: the attribute is called without arguments.
    """

    module: str
    attribute: str = ""
    is_factory: bool = False

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read ``module``, ``module:attr`` or ``module:factory()``, or raise `ConfigError`."""
        match = _ADDRESS.fullmatch(text)
        if match is None or text.endswith(".py"):
            raise ConfigError(f"APP={text!r} is not module:attr", way_out=_meant(text) or _FORM)
        return cls(
            module=match["module"],
            attribute=match["attribute"] or "",
            is_factory=match["call"] is not None,
        )


@frozen
class AppAt:
    """Imports the application that *text* names when it is called, in whatever process."""

    text: str

    @property
    def module(self) -> str:
        """The module that is imported first."""
        return Address.parse(self.text).module

    def __call__(self) -> Stem:
        return load_app(self.text)


def load_app(text: str) -> Stem:
    """Import the application that *text* names and return it.

    The working directory is searched first, as `python -m` does.

    Raises:
        ConfigError: with the place where it went wrong and what was found there.
    """
    address = Address.parse(text)
    module = _imported(address.module)
    return _find(module, address) if address.attribute else _find_usual(module)


def _meant(text: str) -> str:
    """Say what a path to a file was meant to be."""
    path, _, attribute = text.partition(":")
    if ".." in path or not (path.endswith(".py") or "/" in path):
        return ""
    dotted = path.removesuffix(".py").strip("./").replace("/", ".")
    if _ADDRESS.fullmatch(dotted) is None:
        return ""
    tail = f":{attribute}" if attribute else ""
    return f"It names a module, not a file. Did you mean {dotted + tail!r}?"


# ── the module ───────────────────────────────────────────────────────────────


def _imported(name: str) -> ModuleType:
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        # Missing itself, or does something that it imports miss?
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise ConfigError(
                f"there is no module {error.name!r}, looked for in {here} and the Python path",
                way_out=nearest(error.name, _modules_beside(error.name)) or _FORM,
            ) from None
        raise _failed(name, error) from error
    except (Exception, SystemExit) as error:
        raise _failed(name, error) from error


def _modules_beside(name: str) -> Iterator[str]:
    """Name the modules that could have been meant: those of the package or directory."""
    from pkgutil import iter_modules

    package, _, _ = name.rpartition(".")
    if package:
        return _modules_in(sys.modules[package])
    return (found.name for found in iter_modules([os.getcwd()]))


def _failed(what: str, error: BaseException) -> ConfigError:
    """Describe an exception of user code by its text and the line that led to it."""
    if isinstance(error, StemError):
        cause = f"{type(error).__name__}: {error.message}"
        return ConfigError(f"{what} failed: {cause}{_place(error)}", way_out=error.way_out)
    cause = traceback.format_exception_only(error)[-1].strip()
    return ConfigError(f"{what} failed: {cause}{_place(error)}")


def _place(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return f"\n  {error.filename}:{error.lineno}" if error.filename else ""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_theirs(frame)]
    return f"\n  {frames[-1].filename}:{frames[-1].lineno}" if frames else ""


def _is_theirs(frame: traceback.FrameSummary) -> bool:
    """Tell what users wrote or installed from Stem and the standard library below it."""
    file = frame.filename
    if file.startswith(("<frozen ", _STEM)):
        return False
    return "-packages" in file or not file.startswith(_STANDARD)


# ── the attribute ────────────────────────────────────────────────────────────


def _find_usual(module: ModuleType) -> Stem:
    for name in _DEFAULT_NAMES:
        found = getattr(module, name, None)
        if isinstance(found, Stem):
            return found
    if not _stems(module):
        raise ConfigError(f"{module.__name__} has no Stem", way_out=_where_else(module))
    raise ConfigError(
        f"{module.__name__} has no Stem named {' or '.join(map(repr, _DEFAULT_NAMES))}"
        f"{_stems_in(module)}",
        way_out=_write_one_of(module),
    )


def _find(module: ModuleType, address: Address) -> Stem:
    found: object = module
    where = module.__name__
    for name in address.attribute.split("."):
        if not hasattr(found, name):
            raise ConfigError(
                f"{where} has no {name!r}{_stems_in(module)}",
                way_out=nearest(name, _public(found))
                or _write_one_of(module)
                or _where_else(module),
            )
        found = getattr(found, name)
        where = f"{where}.{name}"
    return _as_stem(_called(found, where) if address.is_factory else found, where, module)


def _called(factory: object, where: str) -> object:
    if not callable(factory):
        raise ConfigError(f"{where} is {_kind_of(factory)} and cannot be called")
    try:
        return factory()
    except (Exception, SystemExit) as error:
        raise _failed(f"{where}()", error) from error


def _as_stem(found: object, where: str, module: ModuleType) -> Stem:
    if isinstance(found, Stem):
        return found
    if isinstance(found, FunctionType):
        way_out = f"If it makes the Stem, write '{module.__name__}:{found.__name__}()'."
    else:
        way_out = _write_one_of(module) or _where_else(module)
    raise ConfigError(
        f"{where} is {_kind_of(found)}, not a Stem{_stems_in(module)}", way_out=way_out
    )


def _kind_of(value: object) -> str:
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


def _public(owner: object) -> list[str]:
    """Name what could be meant in *owner*; the class itself never is."""
    return [
        name
        for name in dir(owner)
        if not name.startswith("_") and getattr(owner, name, None) is not Stem
    ]


def _stems(module: ModuleType) -> list[str]:
    return [name for name in _public(module) if isinstance(getattr(module, name, None), Stem)]


def _stems_in(module: ModuleType) -> str:
    found = ", ".join(_stems(module))
    return f"; Stem objects here: {found}" if found else f"; there is no Stem in {module.__name__}"


def _write_one_of(module: ModuleType) -> str:
    names = [f"{module.__name__}:{name}" for name in _stems(module)]
    return f"Write {' or '.join(names)}." if names else ""


def _where_else(module: ModuleType) -> str:
    """Say what to write where *module* has no Stem: in a package it stands in one below."""
    below = sorted(_modules_in(module))
    if not below:
        return f"Make one there, stem = Stem(), or name the module that does. {_FORM}"
    some = below[:_SHOWN] + ["…"] * (len(below) > _SHOWN)
    return f"Name the module of this package that makes it: {', '.join(some)}."


def _modules_in(package: ModuleType) -> Iterator[str]:
    from pkgutil import iter_modules

    found = iter_modules(getattr(package, "__path__", ()), f"{package.__name__}.")
    return (each.name for each in found if not each.name.endswith(".__main__"))

"""Finding the application that a command names, and what is said when it is not there."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stem_core.cli.apps import Address, load_app
from stem_core.model.errors import ConfigError
from stem_core.producer.client import Stem

Write = Callable[[str, str], None]

IMPORT = "from stem_core.producer.client import Stem\n"


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write modules into the working directory; what is imported is forgotten at the end."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    known = set(sys.modules)

    def write(path: str, text: str) -> None:
        place = tmp_path / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)

    yield write
    for name in set(sys.modules) - known:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.mark.parametrize(
    ("text", "module", "attribute", "is_factory"),
    [
        ("shop", "shop", "", False),
        ("shop.tasks", "shop.tasks", "", False),
        ("shop.tasks:stem", "shop.tasks", "stem", False),
        ("shop.tasks:apps.main", "shop.tasks", "apps.main", False),
        ("shop:make()", "shop", "make", True),
    ],
)
def test_an_address_is_a_module_and_a_name_in_it(
    text: str, module: str, attribute: str, is_factory: bool
) -> None:
    found = Address.parse(text)
    assert (found.module, found.attribute, found.is_factory) == (module, attribute, is_factory)


@pytest.mark.parametrize(
    ("text", "way_out"),
    [
        ("shop/tasks.py", "Did you mean 'shop.tasks'?"),
        ("./shop/tasks.py:app", "Did you mean 'shop.tasks:app'?"),
        ("shop.tasks.py", "Did you mean 'shop.tasks'?"),
        ("", "Write module:attr"),
        ("shop:", "Write module:attr"),
        (":app", "Write module:attr"),
        ("shop:make(1)", "Write module:attr"),
        ("shop tasks", "Write module:attr"),
        ("../shop", "Write module:attr"),
    ],
)
def test_what_is_no_address_is_refused_with_what_to_write(text: str, way_out: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Address.parse(text)
    assert repr(text) in refused.value.message
    assert way_out in refused.value.way_out


@pytest.mark.parametrize(
    ("code", "address"),
    [
        ("app = Stem()", "findme"),
        ("stem = Stem()", "findme"),
        ("app = object()\nstem = Stem()", "findme"),
        ("other = Stem()", "findme:other"),
        ("class apps: main = Stem()", "findme:apps.main"),
        ("def make(): return Stem()", "findme:make()"),
    ],
)
def test_the_application_is_found(write: Write, code: str, address: str) -> None:
    write("findme.py", IMPORT + code)
    assert isinstance(load_app(address), Stem)


def test_app_is_taken_before_stem(write: Write) -> None:
    write("both.py", IMPORT + "app = Stem(); stem = Stem()")
    assert load_app("both") is sys.modules["both"].app


def told(address: str) -> str:
    with pytest.raises(ConfigError) as refused:
        load_app(address)
    return str(refused.value)


@pytest.mark.parametrize(
    ("code", "address", "answers"),
    [
        (
            "main_stem = Stem()\nother = Stem()",
            "mod",
            ["no Stem named 'app' or 'stem'", "main_stem, other", "mod:main_stem or mod:other"],
        ),
        ("", "mod", ["mod has no Stem\n", "Make one there, stem = Stem(), or name"]),
        ("", "mod:stem", ["mod has no 'stem'; there is no Stem in mod", "Make one there"]),
        ("stem = Stem()", "mod:stm", ["mod has no 'stm'", "Did you mean 'stem'?"]),
        ("stem = Stem()", "mod:xyzzy", ["mod has no 'xyzzy'", "Write mod:stem."]),
        ("stem = Stem()\nport = 8000", "mod:port", ["mod.port is an int, not a Stem", "mod:stem"]),
        ("def make(): return Stem()", "mod:make", ["a function, not a Stem", "'mod:make()'"]),
        (
            "def make(): return 7",
            "mod:make()",
            ["mod.make is an int, not a Stem; there is no Stem in mod"],
        ),
        ("def make(): return {}['x']", "mod:make()", ["mod.make() failed: KeyError: 'x'"]),
        ("make = 7", "mod:make()", ["mod.make is an int and cannot be called"]),
        ("class apps: pass", "mod:apps.main", ["mod.apps has no 'main'"]),
    ],
)
def test_what_was_found_instead_is_said(
    write: Write, code: str, address: str, answers: list[str]
) -> None:
    write("mod.py", IMPORT + code)
    text = told(address)
    for answer in answers:
        assert answer in text


@pytest.mark.parametrize("address", ["shop", "shop:stem"])
def test_a_package_without_a_stem_names_its_modules(write: Write, address: str) -> None:
    write("shop/__init__.py", "")
    write("shop/__main__.py", "")
    write("shop/tasks.py", IMPORT + "stem = Stem()")
    write("shop/web.py", "")
    assert told(address).endswith(
        "\n  Name the module of this package that makes it: shop.tasks, shop.web."
    )


def test_of_a_large_package_only_some_modules_are_named(write: Write) -> None:
    for name in ("__init__", *"abcdefg"):
        write(f"shop/{name}.py", "")
    assert told("shop").endswith(": shop.a, shop.b, shop.c, shop.d, shop.e, ….")


@pytest.mark.parametrize(
    ("code", "cause", "line"),
    [
        ("x = 1\ny = nosuchname", "NameError: name 'nosuchname' is not defined", 2),
        ("import no_such_library", "ModuleNotFoundError: No module named 'no_such_library'", 1),
        ("raise SystemExit(3)", "SystemExit: 3", 1),
        ("def f(:", "SyntaxError: ", 1),
        ("import json\njson.loads('{')", "json.decoder.JSONDecodeError: Expecting", 2),
        (IMPORT + "Stem('redis//x')", "InvalidURL: broker: this is not a URL", 2),
    ],
)
def test_an_application_that_fails_to_import_is_told_with_its_cause_and_line(
    write: Write, code: str, cause: str, line: int
) -> None:
    write("shop/__init__.py", "")
    write("shop/broken.py", code)
    text = told("shop.broken")
    assert f"shop.broken failed: {cause}" in text
    assert f"broken.py:{line}" in text


@pytest.mark.parametrize(
    ("address", "answers"),
    [
        ("shop.taks", ["no module 'shop.taks'", "Did you mean 'shop.tasks'?"]),
        ("shpo.tasks", ["no module 'shpo'", "Did you mean 'shop'?"]),
        ("nothing_like_it", ["no module 'nothing_like_it'", "looked for in"]),
        ("shop.tasks.deeper", ["no module 'shop.tasks.deeper'"]),
    ],
)
def test_a_module_that_is_not_there_is_answered_with_the_nearest(
    write: Write, address: str, answers: list[str]
) -> None:
    write("shop/__init__.py", "")
    write("shop/tasks.py", "")
    text = told(address)
    for answer in answers:
        assert answer in text

"""Every verb has its script, complete for each kind of server."""

from __future__ import annotations

import re
from hashlib import sha1
from pathlib import Path

import pytest

import stem_redis
from stem_redis.scripts import script

FOLDER = Path(stem_redis.__path__[0]) / "lua"
NAMES = sorted(path.stem for path in FOLDER.glob("*.lua"))
USES = re.compile(r"-- uses: ([a-z ]+)\n-- \S")
ALONE = {"publish_plain"}
"""They do without the prelude."""


@pytest.mark.parametrize("name", NAMES)
def test_a_script_begins_with_what_it_uses_and_what_it_does(name: str):
    text = (FOLDER / f"{name}.lua").read_text("utf-8")
    head = USES.match(text)
    if name in ALONE:
        assert head is None
    else:
        assert head is not None
        assert head[1].split()[0] == "prelude"
    assert "-- ARGV " in text
    assert "-- returns " in text


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("flavour", [True, False])
def test_a_script_is_known_by_its_own_hash_and_carries_no_comments(name: str, flavour: bool):
    lua = script(name, flavour)
    assert lua.sha == sha1(lua.text.encode()).hexdigest()
    assert not [line for line in lua.text.splitlines() if line.lstrip().startswith("--")]
    assert re.search("local P(, .*)? = KEYS", lua.text)


@pytest.mark.parametrize("name", sorted(ALONE))
@pytest.mark.parametrize("constant", ["LEVEL", "PER_MS"])
def test_what_a_script_without_the_prelude_repeats_is_the_same(name: str, constant: str):
    own = (FOLDER / f"{name}.lua").read_text("utf-8")
    shared = (FOLDER / "parts" / "prelude.lua").read_text("utf-8")
    assert _local(constant, own) == _local(constant, shared)


def _local(name: str, text: str) -> str:
    """Return the value of the local variable *name*, alone or among others of its line."""
    [(names, values)] = re.findall(rf"^local ([\w, ]*\b{name}\b[\w, ]*) = ([^-\n]+)", text, re.M)
    return dict(zip(names.split(", "), values.split(", "), strict=True))[name].strip()


def test_only_what_adds_work_is_refused_by_a_full_server():
    for name in NAMES:
        newer, older = script(name, True).text, script(name, False).text
        goes_on = "allow-oom" in newer.splitlines()[0]
        assert goes_on is not name.startswith("publish")
        assert older.startswith("redis.call('DEL'") is goes_on
        assert "#!" not in older


def test_every_script_is_run_by_somebody():
    code = "".join(path.read_text("utf-8") for path in FOLDER.parent.glob("*.py"))
    assert [name for name in NAMES if f'"{name}"' not in code] == []

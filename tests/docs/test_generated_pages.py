"""What is generated is what the code says, and all of it; the site reads pages as it should."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any
from xml.etree import ElementTree

import pytest

from stem_core.contracts.hookspecs import PluginContext
from stem_core.discovery.host import PluginHost
from stem_core.model import errors
from stem_core.model.errors import StemError
from stem_core.model.lifecycle import TRANSITIONS, Event
from stem_core.model.outcome import State
from stem_core.model.urls import StemURL
from stem_core.plugin import replace
from stem_docs import house, inside, states
from stem_docs.pages import DOCS, PAGES
from stem_docs.reading import anchor_of_error, as_read
from stem_docs.stores import declared

PICTURES = [place for place in PAGES if place.endswith(".svg")]
MODULES = (
    *("stem_core", "stem_core.plugin", "stem_core.testing"),
    *("stem_redis", "stem_postgres", "stem_signing"),
)
DIRECTIVE = re.compile(
    r"^\.\. currentmodule:: (\S+)|^\.\. auto(?:class|data|function):: (\w+)", re.M
)
SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize("place", PAGES)
def test_a_generated_page_is_what_the_code_says(place):
    there = (DOCS / place).read_text("utf-8")
    assert there == PAGES[place](), "write it anew: nox -s docs -- --write"


# ── the API ──────────────────────────────────────────────────────────────────


def described() -> dict[str, set[str]]:
    """Return the names that the pages of the API describe, by module."""
    found: dict[str, set[str]] = {}
    for page in sorted((DOCS / "reference/api").glob("*.md")):
        module = ""
        for named, name in DIRECTIVE.findall(page.read_text("utf-8")):
            module = named or module
            found.setdefault(module, set()).update({name} - {""})
    return found


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_is_described_once_or_is_an_error(module):
    public = set(import_module(module).__all__) - {"__version__", "hookimpl"}
    elsewhere = set(errors.__all__) | (described()["stem_core"] if module != "stem_core" else set())
    assert described()[module] == public - elsewhere


def test_every_error_is_in_the_tree_and_in_one_table():
    page = (DOCS / "reference/errors.md").read_text("utf-8")
    tree = page.split("```")[1]
    for name in errors.__all__:
        kind = getattr(errors, name)
        if issubclass(kind, StemError):
            assert re.search(rf"^\W*{name}$", tree, re.M), name
            assert page.count(f"\n| `{name}` |") == 1


def test_a_link_to_an_error_leads_to_its_family():
    page = (DOCS / "reference/errors.md").read_text("utf-8")
    headings = re.findall(r"^## (.*)$", page, re.M)
    anchors = {heading.lower().replace(" ", "-") for heading in headings}
    for name in errors.__all__:
        assert anchor_of_error(getattr(errors, name)) in anchors
    assert anchor_of_error(errors.StoreFull) == "storeerror"


# ── stores ───────────────────────────────────────────────────────────────────


async def opened(url: str) -> tuple[Any, Any]:
    """Return what the broker and the backend at *url* say when they are open."""
    host, context = PluginHost(), PluginContext()
    broker = await host.open_broker(StemURL.parse(url), context)
    backend = await host.open_backend(StemURL.parse(url), context)
    assert backend is not None
    try:
        return broker.capabilities, backend.capabilities
    finally:
        await backend.aclose()
        await broker.aclose()


@pytest.mark.parametrize("family", ["memory", "sqlite"])
def test_a_store_without_a_server_opens_to_what_it_declares(family, tmp_path):
    url = "memory://" if family == "memory" else f"sqlite:///{tmp_path}/tasks.db"
    assert asyncio.run(opened(url)) == (declared("broker", family), declared("backend", family))


def test_redis_opens_to_what_it_declares_but_for_what_its_server_decides(redis_server):
    same_but_for_durability(asyncio.run(opened(redis_server.url)), "redis")


def test_postgres_opens_to_what_it_declares_but_for_what_its_server_decides(postgres_server):
    command = [sys.executable, "-m", "stem_core", "migrate", "up", postgres_server.url]
    assert subprocess.run(command).returncode == 0
    same_but_for_durability(asyncio.run(opened(postgres_server.url)), "postgresql")


def same_but_for_durability(found: tuple[Any, Any], family: str) -> None:
    for kind, capabilities in zip(("broker", "backend"), found, strict=True):
        said = declared(kind, family)
        assert said is not None
        assert replace(capabilities, durability=said.durability) == said


@pytest.mark.parametrize("option", ["durability", "results_db", "pooler", "active"])
def test_an_option_of_a_url_has_a_line_with_words(option):
    page = (DOCS / "reference/urls.md").read_text("utf-8")
    (line,) = re.findall(rf"^\| `{option}` \|.*$", page, re.M)
    assert len(line.split("|")[4].split()) > 3


# ── pictures ─────────────────────────────────────────────────────────────────


def words(place: str) -> list[str]:
    picture = ElementTree.parse(DOCS / place)
    return [each.text or "" for each in picture.iter(f"{SVG}text")]


@pytest.mark.parametrize("place", PICTURES)
def test_a_picture_says_what_it_shows_and_asks_nobody_for_anything(place):
    picture = ElementTree.parse(DOCS / place).getroot()
    assert len(picture.findtext(f"{SVG}title") or "") > 5
    assert len(picture.findtext(f"{SVG}desc") or "") > 20
    text = (DOCS / place).read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
    assert "http" not in text
    assert "href" not in text


def test_the_state_diagram_has_every_state_and_every_event():
    drawn = words("pictures/states.svg")
    assert {state.value for state in State} <= set(drawn)
    assert {event.value for event in Event} <= {each for text in drawn for each in text.split(", ")}


def test_a_transition_that_has_no_place_in_the_diagram_is_an_error(monkeypatch):
    more = {**TRANSITIONS, (State.SUCCEEDED, Event.REPLAY): State.QUEUED}
    monkeypatch.setattr(states, "TRANSITIONS", MappingProxyType(more))
    with pytest.raises(LookupError, match="SUCCEEDED"):
        states.states()


def test_the_way_of_a_task_shows_each_state_once():
    drawn = words("pictures/way.svg")
    assert sorted(each for each in drawn if each in {s.value for s in State}) == sorted(
        state.value for state in State
    )


def test_the_house_has_a_room_for_each_folder_and_each_adapter():
    drawn = words("pictures/house.svg")
    inside = DOCS.parent / "stem-core/src/stem_core"
    rooms = {path.parent.name for path in inside.glob("*/__init__.py")}
    assert rooms | {"plugin", "failpoints"} <= set(drawn)
    assert {"stem-redis", "stem-postgres", "stem-signing"} <= set(drawn)


def test_a_room_that_nobody_has_words_for_is_an_error(monkeypatch):
    known = {name: text for name, text in house._WORDS.items() if name != "worker"}
    monkeypatch.setattr(house, "_WORDS", known)
    with pytest.raises(LookupError, match="worker"):
        house.house()


@pytest.mark.parametrize("room", inside.MODULES)
def test_what_a_picture_of_the_inside_names_is_a_module_of_the_room(room):
    drawn = {*words("pictures/rounds.svg"), *words("pictures/crew.svg")}
    folder = DOCS.parent / "stem-core/src/stem_core" / room
    for name in inside.MODULES[room]:
        assert name in drawn
        assert (folder / f"{name}.py").is_file()


# ── pages as the site reads them ─────────────────────────────────────────────


def test_the_home_page_has_the_example_of_the_readme_and_all_of_the_navigation():
    home = (DOCS / "index.md").read_text("utf-8")
    example = re.findall(r"^```python\n.*?^```$", home, re.M | re.S)[0]
    assert example in (DOCS.parent / "README.md").read_text("utf-8")
    read = as_read("index", home, {"How to": ["workers/running", "workers/watch"]})
    assert ":caption: How to\n\nworkers/running\nworkers/watch\n```" in read


def test_a_link_out_of_the_documentation_becomes_its_place_in_the_source_tree():
    text = "See [the example](../../examples/kms_signer/README.md)."
    read = as_read("signing/README", text, {})
    assert read == "See the example (`examples/kms_signer/README.md` in the source tree)."
    text = "Read [SECURITY.md](../../SECURITY.md)."
    assert as_read("signing/README", text, {}) == "Read `SECURITY.md` in the source tree."


def test_a_link_to_what_was_measured_leads_to_the_page_of_benchmarks():
    text = "See [figures](../../benchmarks/RESULTS-POSTGRES.md), [more](running.md#drain)."
    expected = "See [figures](../explanation/benchmarks.md#measured-postgresql), "
    assert as_read("workers/watch", text, {}) == expected + "[more](running.md#drain)."


def test_the_name_of_a_file_stands_above_its_code():
    text = '```python title="shop/__init__.py"\nx = 1\n```\n'
    expected = "```{code-block} python\n:caption: shop/\\_\\_init\\_\\_.py\n\nx = 1\n```\n"
    assert as_read("testing/test-your-tasks", text, {}) == expected


def test_what_is_generated_is_written_below_docs_only():
    assert all(not Path(place).is_absolute() and ".." not in place for place in PAGES)

"""Every key that a script uses is known to who looks for a stranger among them."""

from __future__ import annotations

import re
from importlib.resources import files

from stem_redis.diagnosis import ALONE, NAMED

_CHANNELS = frozenset({"done:"})


def code() -> str:
    """Return all scripts and their parts, without what is said to people."""
    lua = files("stem_redis").joinpath("lua")
    folders = (lua, lua.joinpath("parts"))
    texts = [
        file.read_text("utf-8")
        for folder in folders
        for file in folder.iterdir()
        if file.name.endswith(".lua")
    ]
    return "\n".join(line.partition("--")[0] for text in texts for line in text.splitlines())


def test_every_key_of_a_script_is_looked_at():
    behind_the_prefix = re.findall(r"P \.\. \(?'([a-z]+:?)'", code())
    chosen_among_some = re.findall(r"'([a-z]{1,2}:)'", code())
    passed_on = re.findall(r"\((?:'[A-Z]+', )?'(swept|aired|x|graves)'\)", code())
    used = {*behind_the_prefix, *chosen_among_some, *passed_on} - _CHANNELS
    assert {"q:", "pw:", "u:", "turn", "swept", "aired"} <= used
    assert used <= {*ALONE, *NAMED}
    assert {*ALONE, *NAMED} - used == {"health"}  # which no script uses

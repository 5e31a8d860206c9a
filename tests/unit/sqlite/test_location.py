"""Where a URL leads, and why it leads nowhere."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path

import pytest

from stem_core.embedded.sqlite.backend import SqliteResultBackend
from stem_core.embedded.sqlite.broker import SqliteBroker
from stem_core.embedded.sqlite.location import location_of, network_kind
from stem_core.model.errors import InvalidURL, StoreMisconfigured
from stem_core.model.urls import StemURL

MOUNTS = r"""22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:25 / /srv/shared\040disk rw shared:2 - nfs4 nas:/vol rw,vers=4.2
31 22 0:26 / /home rw - cifs //nas/home rw
32 31 8:2 / /home/local rw - xfs /dev/sdb1 rw
a line that is none
"""


def where(text: str) -> str:
    return location_of(StemURL.parse(text)).path


def test_three_slashes_lead_to_the_working_directory(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    location = location_of(StemURL.parse("sqlite:///tasks.db"))
    assert location.path == str(tmp_path / "tasks.db")
    assert location.note == f"sqlite:///tasks.db is the file {tmp_path / 'tasks.db'}"


def test_where_a_relative_path_leads_is_logged_once_however_often_it_is_opened(
    tmp_path: Path, monkeypatch, caplog
):
    async def main() -> None:
        for kind in (SqliteBroker, SqliteResultBackend, SqliteBroker):
            await (await kind.connect("sqlite:///tasks.db")).aclose()

    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.INFO, "stem.sqlite")
    asyncio.run(main())
    told = f"sqlite:///tasks.db is the file {tmp_path / 'tasks.db'}"
    assert [record.getMessage() for record in caplog.records].count(told) == 1


def test_four_slashes_lead_to_an_absolute_path_and_need_no_note(tmp_path: Path):
    location = location_of(StemURL.parse(f"sqlite:///{tmp_path}/tasks.db"))
    assert (location.path, location.note) == (str(tmp_path / "tasks.db"), "")


def test_two_ways_to_one_file_are_one_place(tmp_path: Path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert where(f"sqlite:///{tmp_path}/link/../real/t.db") == where(
        f"sqlite:///{tmp_path}/link/t.db"
    )


def test_no_path_is_the_memory_of_this_process():
    location = location_of(StemURL.parse("sqlite://"))
    assert location.is_memory
    assert "this process only" in location.note


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sqlite://tasks.db", "Did you mean sqlite:///tasks.db?"),
        ("sqlite://host/tasks.db", "names a user or a host"),
        ("sqlite://user:secret@/tasks.db", "names a user or a host"),
        ("sqlite:///", "names no file"),
    ],
)
def test_a_url_that_says_more_or_less_than_a_file_is_refused(text: str, said: str):
    with pytest.raises(InvalidURL) as refused:
        where(text)
    assert said in str(refused.value)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("path", ["%00tasks.db", "a%0Ab.db", "%1b[31mred.db"])
def test_a_path_with_control_characters_is_refused(path: str):
    with pytest.raises(InvalidURL):
        where(f"sqlite:///{path}")


def test_a_path_that_looks_like_an_option_or_a_uri_is_a_file_name(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("file:x.db", ":memory:", "-x", "a b'\"%25.db", "../" * 40 + "tmp/x.db"):
        quoted = name.replace("%25", "%2525").replace(" ", "%20")
        assert os.path.isabs(where(f"sqlite:///{quoted}"))


def test_a_missing_folder_is_named(tmp_path: Path):
    with pytest.raises(StoreMisconfigured, match="there is no folder") as refused:
        where(f"sqlite:///{tmp_path}/missing/tasks.db")
    assert str(tmp_path / "missing") in str(refused.value)


def test_a_folder_and_a_device_are_no_files(tmp_path: Path):
    with pytest.raises(StoreMisconfigured, match="is a folder"):
        where(f"sqlite:///{tmp_path}")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StoreMisconfigured, match="not a regular file"):
        where(f"sqlite:///{tmp_path}/pipe")


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/srv/shared disk/tasks.db", "nfs4"),
        ("/srv/shared disk two/tasks.db", ""),
        ("/home/ada/tasks.db", "cifs"),
        ("/home/local/tasks.db", ""),
        ("/var/lib/tasks.db", ""),
    ],
)
def test_the_innermost_mount_says_whether_a_path_is_on_a_network(path: str, kind: str):
    assert network_kind(path, MOUNTS) == kind


def test_without_a_list_of_mounts_every_path_is_local():
    assert network_kind("/srv/tasks.db", "") == ""

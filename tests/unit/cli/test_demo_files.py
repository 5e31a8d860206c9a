"""Which files the demo gives to tasks."""

from __future__ import annotations

import os
import socket
import sys
from collections import Counter
from pathlib import Path

import pytest

from stem_core.cli.demo_files import files_of


def test_every_regular_file_of_every_folder_is_found_once_in_order(tmp_path: Path) -> None:
    for name in ("b.txt", "a/deep/down.bin", "a/.hidden", "c"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\x00\xff")
    found = files_of(tmp_path)
    assert found.files == ("a/.hidden", "a/deep/down.bin", "b.txt", "c")
    assert not found.left_out


def test_an_empty_folder_has_no_files(tmp_path: Path) -> None:
    assert files_of(tmp_path).files == ()


def test_a_loop_of_links_has_an_end(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "back").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "itself").symlink_to("itself")
    (tmp_path / "file.txt").write_text("real")
    (tmp_path / "twice.txt").symlink_to("file.txt")
    found = files_of(tmp_path)
    assert found.files == ("file.txt",)
    assert found.left_out == Counter({"link": 3})


def test_what_is_no_file_is_left_out_unopened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.getcwd()
        os.chdir(tmp_path)  # the path of a socket is short
        try:
            listener.bind("socket")
        finally:
            os.chdir(here)
    found = files_of(tmp_path)
    assert found.files == ()
    assert found.left_out == Counter({"special file": 2})


def test_caches_are_left_out_and_counted(tmp_path: Path) -> None:
    for folder in ("__pycache__", ".git", "src"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "file").touch()
    found = files_of(tmp_path)
    assert found.files == ("src/file",)
    assert found.left_out == Counter({"cache folder": 2})


@pytest.mark.skipif(sys.platform == "darwin", reason="its file systems refuse such names")
def test_a_name_that_no_json_can_carry_is_left_out_and_counted(tmp_path: Path) -> None:
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.txt"))).touch()
    found = files_of(tmp_path)
    assert found.files == ()
    assert found.left_out == Counter({"non-UTF-8 name": 1})


def test_a_folder_that_vanishes_is_counted(tmp_path: Path) -> None:
    found = files_of(tmp_path / "gone")
    assert found.files == ()
    assert found.left_out == Counter({"unreadable folder": 1})

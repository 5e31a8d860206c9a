"""What the kit cannot know: which URLs this signer refuses, and in which words."""

from __future__ import annotations

from pathlib import Path

import pytest
from kms_signer.signer import KmsOptions, KmsSigner

import stem_core.plugin as stem


def opened(url: str, key: str = "") -> KmsSigner:
    return KmsSigner.open(stem.StemURL.parse(url), KmsOptions(key=key), stem.PluginContext())


@pytest.mark.parametrize("url", ["filekms://", "filekms:///", "filekms://a-host/folder"])
def test_a_url_that_names_no_folder_is_refused(url: str) -> None:
    with pytest.raises(stem.InvalidURL, match="names no folder"):
        opened(url)


def test_a_folder_without_keys_is_refused(tmp_path: Path) -> None:
    with pytest.raises(stem.ConfigError, match="no key in"):
        opened(f"filekms://{tmp_path}")


def test_a_key_that_can_be_guessed_is_refused(tmp_path: Path) -> None:
    (tmp_path / "orders-1.key").write_bytes(b"hunter2")
    with pytest.raises(stem.ConfigError, match="shorter than 32 bytes"):
        opened(f"filekms://{tmp_path}")


def test_a_key_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "orders-1.key").write_bytes(bytes(32))
    with pytest.raises(stem.ConfigError, match="no key 'orders-2'"):
        opened(f"filekms://{tmp_path}", key="orders-2")

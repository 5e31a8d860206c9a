from __future__ import annotations

import pytest

from stem_core.model.settings.sizes import format_size, read_size


@pytest.mark.parametrize(
    ("text", "size"),
    [("1K", 1024), ("512M", 512 << 20), ("2G", 2 << 30), ("2GiB", 2 << 30), ("3mb", 3 << 20)],
)
def test_a_size_is_read_with_its_unit(text: str, size: int) -> None:
    assert read_size(text, "") == size


@pytest.mark.parametrize("text", ["", "512", "0M", "-1M", "1.5G", "M", "1 M", "1P", "\u0661M"])
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="such as 512M or 2G"):
        read_size(text, "")


def test_people_read_mebibytes() -> None:
    assert format_size(2 << 30) == "2048M"


@pytest.mark.parametrize("text", ["1K", "512M", "2G", "1025K", "3T"])
def test_a_size_is_shown_as_it_is_given(text: str) -> None:
    assert str(read_size(text, "")) == text

from __future__ import annotations

import pytest

from stem_core.model.settings.listening import Listening, read_listening


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("8080", "127.0.0.1:8080"),
        (":8080", "127.0.0.1:8080"),
        ("0", "127.0.0.1:0"),
        ("0.0.0.0:8080", "0.0.0.0:8080"),
        ("localhost:65535", "localhost:65535"),
        ("[::1]:8080", "[::1]:8080"),
        ("[::]:8080", "[::]:8080"),
    ],
)
def test_an_address_is_read_and_a_port_alone_is_of_this_machine(text: str, full: str) -> None:
    assert read_listening(text, "") == full
    assert str(Listening.parse(full)) == full
    assert Listening.parse(text).url == f"http://{full}"


def test_a_host_stands_without_its_brackets() -> None:
    assert Listening.parse("[::1]:8080") == Listening("::1", 8080)


@pytest.mark.parametrize(
    "text",
    ["", "abc", ":", "host:", "65536", "-1", "1.5", "::1:8080", "http://h:80", "h:80/x", "a b:1",
     "8080 ", "[h]:1", "8080\n", "\u0661"],
)  # fmt: skip
def test_what_is_no_address_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected a port, or host:port such as 0\.0\.0\.0:8080"):
        Listening.parse(text)

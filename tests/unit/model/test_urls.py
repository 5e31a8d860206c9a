from __future__ import annotations

import pickle
import traceback
from typing import Any
from urllib.parse import quote

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stem_core.model.errors import InvalidURL
from stem_core.model.secrets import Secret
from stem_core.model.urls import Host, StemURL


def parts(text: str) -> tuple[Any, ...]:
    url = StemURL.parse(text)
    hosts = [(host.name, host.port) for host in url.hosts]
    return url.scheme, url.variant, hosts, url.path, list(url.query)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("redis://h:6379/2", ("redis", "", [("h", 6379)], "/2", [])),
        ("REDIS+Unix:///run/r.sock?db=2", ("redis", "unix", [], "/run/r.sock", [("db", "2")])),
        ("pg://h1:5432,h2:5433/db", ("pg", "", [("h1", 5432), ("h2", 5433)], "/db", [])),
        ("pg://[::1]:1,[::2]:2", ("pg", "", [("::1", 1), ("::2", 2)], "", [])),
        ("pg://[fe80::1%25eth0]/", ("pg", "", [("fe80::1%eth0", None)], "/", [])),
        ("pg://%2Fvar%2Frun/db", ("pg", "", [("/var/run", None)], "/db", [])),
        ("hmac+env://STEM_KEY", ("hmac", "env", [("STEM_KEY", None)], "", [])),
        ("hmac-sha256+file:///run/k", ("hmac-sha256", "file", [], "/run/k", [])),
        ("sqlite:///rel.db", ("sqlite", "", [], "/rel.db", [])),
        ("sqlite:////abs.db", ("sqlite", "", [], "//abs.db", [])),
        ("sqlite:///C:/x.db", ("sqlite", "", [], "/C:/x.db", [])),
        ("sqlite:///my%20file.db", ("sqlite", "", [], "/my file.db", [])),
        ("sqlite:///données.db", ("sqlite", "", [], "/données.db", [])),
        ("sqlite://", ("sqlite", "", [], "", [])),
        ("memory://Name", ("memory", "", [("Name", None)], "", [])),
        ("x://h?a=1&a=2&b=%26", ("x", "", [("h", None)], "", [("a", "1"), ("a", "2"), ("b", "&")])),
        ("x://h?k=a+b=c?d", ("x", "", [("h", None)], "", [("k", "a+b=c?d")])),
        ("x://h?", ("x", "", [("h", None)], "", [])),
    ],
)
def test_a_url_comes_apart(text: str, expected: tuple[Any, ...]) -> None:
    assert parts(text) == expected


@pytest.mark.parametrize(
    ("text", "username", "password"),
    [
        ("r://h", "", None),
        ("r://u@h", "u", None),
        ("r://u:p@h", "u", "p"),
        ("r://:p@h", "", "p"),
        ("r://u:@h", "u", ""),
        ("r://u%40x:p%40%2F%3A%23@h", "u@x", "p@/:#"),
        ("r://u:a:b@h", "u", "a:b"),
    ],
)
def test_user_and_password_come_apart(text: str, username: str, password: str | None) -> None:
    url = StemURL.parse(text)
    assert url.username == username
    assert (None if url.password is None else url.password.reveal()) == password


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "empty"),
        ("nothing", "does not start with scheme://"),
        ("redis:h", "does not start with scheme://"),
        ("1redis://h", "does not start with scheme://"),
        ("redis+a+b://h", "does not start with scheme://"),
        ("redis://u:hunt#er2@h", "%23"),
        ("redis://u:hunt@er2@h", "more than one '@'"),
        ("redis://u:hunt/er2@h", "'@' outside user:password@host"),
        ("redis://u:hunt?er2@h", "'@' outside user:password@host"),
        ("redis://u:1234/er2@h", "'@' outside user:password@host"),
        ("redis://u:hunt%zzer2@h", "the password has a '%'"),
        ("redis://u:%ff@h", "not UTF-8"),
        ("redis://h:hunter2", "port"),
        ("redis://h:0", "port"),
        ("redis://h:65536", "port"),
        ("redis://h:", "port"),
        ("redis://h:٣", "port"),
        ("redis://:6379", "a host has no name"),
        ("redis://h,,g", "a host has no name"),
        ("redis://a%3Ab", "a host has no name"),
        ("redis://[::1", "a host cannot be read"),
        ("redis://::1", "a host cannot be read|port"),
        ("redis://[hunter2]", "IPv6"),
        ("redis://h/?hunter2", "parameter 1"),
        ("redis://h/?a=1&&b=2", "parameter 2"),
        ("redis://h/?=1", "parameter 1"),
        ("redis://h/a%00b", "control character"),
        ("redis://h /", "character 10"),
        ("redis://h\n", "character 10"),
        ("redis://h\ud800", "character 10"),
        ("redis://" + "h" * 9000, "more than 8192"),
        (b"redis://h", "got bytes"),
    ],
)
def test_a_wrong_url_is_refused_without_a_word_of_it(text: Any, complaint: str) -> None:
    with pytest.raises(InvalidURL, match=complaint) as caught:
        StemURL.parse(text, source="STEM_BROKER_URL")
    assert str(caught.value).startswith("STEM_BROKER_URL: ")
    told = "".join(traceback.format_exception(caught.value))
    assert not any(piece in told for piece in ("hunt", "er2", "1234"))


@attrs.frozen
class Options:
    db: int = 0
    key_file: str = ""
    pin: Secret[str] | None = None
    password: Secret[str] | None = None


@pytest.mark.parametrize(
    "name",
    ["password", "sslpassword", "sentinel_password", "token", "API_KEY", "client_secret", "auth"],
)
def test_secret_parameters_are_hidden_and_others_are_not(name: str) -> None:
    url = StemURL.parse(f"r://h?{name}=hunter2&db=2&key_file=hunter2&pin=hunter2")
    assert url.redacted(Options) == f"r://h?{name}=***&db=2&key_file=***&pin=***"
    assert dict(url.query)[name] == "hunter2"


def test_of_parameters_that_nobody_knows_only_the_names_are_shown() -> None:
    url = StemURL.parse("r://h?pasword=hunter2&options=-c%20x%3Dhunter2&db=2")
    assert url.redacted(Options) == "r://h?pasword=***&options=***&db=2"
    assert str(url) == url.redacted() == "r://h?pasword=***&options=***&db=***"


def test_no_way_to_show_a_url_shows_its_password() -> None:
    url = StemURL.parse("redis://user:hunter2@h:6379/2")
    assert repr(url) == "StemURL('redis://user:***@h:6379/2')"
    assert str(url) == f"{url}" == url.redacted() == "redis://user:***@h:6379/2"
    with pytest.raises(TypeError, match="does not travel"):
        pickle.dumps(url)


# Letters that appear nowhere else in the URLs below, so that a match is a leak.
SECRETS = st.text(st.sampled_from("QWXYZ§€%@:/?#&=+ ~'\"\\"), min_size=1, max_size=24)


@given(SECRETS, SECRETS)
def test_no_piece_of_a_secret_is_shown(password: str, token: str) -> None:
    url = StemURL(
        scheme="redis",
        username="u",
        password=Secret(password),
        hosts=(Host("h", 1),),
        query=(("token", token),),
    )
    assert str(url) == "redis://u:***@h:1?token=***"
    assert StemURL.parse(url.reveal()) == url


WORDS = st.text(
    st.characters(blacklist_categories=["Cs", "Cc"], blacklist_characters="\x7f"), max_size=12
)
NAMES = WORDS.filter(lambda name: name and ":" not in name)
HOSTS = st.builds(
    Host,
    NAMES | st.ip_addresses(v=6).map(str),
    st.none() | st.integers(min_value=1, max_value=65535),
)
URLS = st.builds(
    StemURL,
    scheme=st.from_regex(r"[a-z][a-z0-9.-]{0,8}", fullmatch=True),
    variant=st.just("") | st.from_regex(r"[a-z][a-z0-9.-]{0,8}", fullmatch=True),
    username=WORDS,
    password=st.none() | WORDS.map(Secret),
    hosts=st.lists(HOSTS, max_size=3).map(tuple),
    path=st.just("") | WORDS.map(lambda path: "/" + path),
    query=st.lists(st.tuples(NAMES, WORDS), max_size=3).map(tuple),
)


@given(URLS)
def test_what_is_revealed_parses_to_the_same_url(url: StemURL) -> None:
    assert StemURL.parse(url.reveal()) == url


@given(URLS)
def test_what_is_redacted_is_a_url_too(url: StemURL) -> None:
    shown = StemURL.parse(url.redacted())
    assert (shown.scheme, shown.hosts, shown.path) == (url.scheme, url.hosts, url.path)


@given(
    st.text(max_size=60)
    | st.text(st.sampled_from("r:/@?#%[],&=+.1 "), max_size=30).map("r://".__add__)
)
def test_any_text_is_a_url_or_one_kind_of_error(text: str) -> None:
    try:
        url = StemURL.parse(text)
    except InvalidURL:
        return
    assert StemURL.parse(url.reveal()) == url


def test_a_path_and_a_query_can_be_replaced() -> None:
    url = StemURL.parse("redis://u:p@h/1?a=1")
    assert url.with_path("/2").with_query([("b", "x y")]).reveal() == "redis://u:p@h/2?b=x%20y"
    with pytest.raises(InvalidURL):
        url.with_path("2")


def test_the_network_location_keeps_its_case_and_holds_no_password() -> None:
    assert StemURL.parse(f"r://u:{quote('p@')}@H1:1,[::1]:2/x").netloc == "H1:1,[::1]:2"


@pytest.mark.parametrize("text", ["hmac-sha256://c2VjcmV0", "ed25519://k1/c2VjcmV0?kid=a"])
def test_a_key_written_where_its_place_belongs_is_never_shown(text: str) -> None:
    url = StemURL.parse(text)
    assert "c2Vj" not in f"{url} {url!r}"
    assert url.reveal() == text


def test_the_place_of_a_key_is_shown() -> None:
    assert str(StemURL.parse("hmac-sha256+env://STEM_KEY")) == "hmac-sha256+env://STEM_KEY"

"""Where a URL leads, and why some lead nowhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from stem_core.plugin import (
    ConfigError,
    Host,
    InvalidURL,
    StemError,
    StemURL,
    TlsConfig,
    options_from_query,
)
from stem_redis.location import Location, database_beside, location_of
from stem_redis.options import RedisOptions

NO_TLS = TlsConfig()


def located(text: str, tls: TlsConfig = NO_TLS) -> Location:
    url = StemURL.parse(text)
    options = options_from_query(RedisOptions, url.query, source="url", redacted_url=str(url))
    return location_of(url, options, tls)


@pytest.mark.parametrize(
    ("url", "hosts", "db"),
    [
        ("redis://", (Host("localhost", 6379),), 0),
        ("redis://h", (Host("h", 6379),), 0),
        ("redis://h:6380", (Host("h", 6380),), 0),
        ("redis://h/", (Host("h", 6379),), 0),
        ("redis://h/3", (Host("h", 6379),), 3),
        ("redis://h?db=4", (Host("h", 6379),), 4),
        ("redis://h/4?db=4", (Host("h", 6379),), 4),
        ("redis://[::1]:1/2", (Host("::1", 1),), 2),
    ],
)
def test_a_url_names_host_port_and_database(url: str, hosts: tuple[Host, ...], db: int):
    location = located(url)
    assert (location.hosts, location.db, location.tls) == (hosts, db, None)


def test_user_and_password_are_decoded_and_not_shown():
    location = located("redis://bob:p%40ss%2F%23%25@h/1")
    assert location.username == "bob"
    assert location.password is not None
    assert location.password.reveal() == "p@ss/#%"
    assert "p@ss" not in f"{location!r}{location.shown}"


def test_a_socket_has_a_path_and_chooses_its_database_by_an_option():
    location = located("redis+unix:///run/redis/redis.sock?db=2")
    assert (location.socket, location.db, location.hosts) == ("/run/redis/redis.sock", 2, ())


def test_sentinels_name_a_master():
    location = located("redis+sentinel://a:1,b/mymaster/5")
    assert location.hosts == (Host("a", 1), Host("b", 26379))
    assert (location.service, location.db) == ("mymaster", 5)
    assert located("redis+sentinel://a/mymaster").db == 0


def test_a_secure_url_uses_tls_with_or_without_settings(tmp_path: Path):
    (tmp_path / "ca.pem").touch()
    settings = TlsConfig(ca_certificate_file=str(tmp_path / "ca.pem"))
    assert located("rediss://h").tls == NO_TLS
    assert located("rediss://h", settings).tls == settings
    assert located("rediss+sentinel://h/m", settings).tls == settings


def test_sentinels_of_a_secure_url_are_asked_over_tls_unless_it_says_otherwise():
    for query, tls in (("", NO_TLS), ("?sentinel_tls=true", NO_TLS), ("?sentinel_tls=false", None)):
        location = located(f"rediss+sentinel://h/m{query}")
        assert (location.tls, location.sentinel_tls) == (NO_TLS, tls)
    assert located("redis+sentinel://h/m").sentinel_tls is None


@pytest.mark.parametrize(
    ("broker", "results", "db"),
    [
        ("redis://h", "redis://h:6379/1", 1),
        ("redis://h/2", "redis://:pw@h/1", 1),
        ("redis+unix:///s", "redis+unix:///s?db=3", 3),
        ("rediss://h", "rediss://h/1", 1),
        ("redis://h/1", "redis://h/1", None),
        ("redis://h", "redis://other/1", None),
        ("redis://h", "redis://h/abc", None),
        ("redis://h", "memory://h", None),
    ],
)
def test_the_database_beside_is_one_of_the_same_server(broker: str, results: str, db: int | None):
    assert database_beside(located(broker), StemURL.parse(results)) == db
    assert database_beside(located(broker), None) is None


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("redis://h/abc", "not a whole number"),
        ("redis://h/0/1", "not a whole number"),
        ("redis://h/-1", "not a whole number"),
        ("redis://h/1?db=2", "two logical databases"),
        ("redis://a,b/0", "names 2 hosts"),
        ("redis+unix://run/redis.sock", "two slashes"),
        ("redis+unix://", "names no socket"),
        ("rediss+unix:///run/redis.sock", "a socket has no TLS"),
        ("redis+sentinel:///m", "hosts of the sentinels"),
        ("redis+sentinel://h", "name of a master"),
        ("redis+sentinel://h/m?sentinel_tls=true", "asked over TLS"),
        ("rediss://h?sentinel_tls=true", "asked over TLS"),
        ("redis://h?db=-1", "db=-1"),
        ("redis://h?timeout=0s", "timeout=0"),
        ("redis://h?max_connections=0", "max_connections=0"),
        ("redis://h?wait_replicas=-1", "wait_replicas=-1"),
        ("redis://h?wait_replicas=1&wait_ms=0ms", "wait_ms=0: must be above 0"),
        ("redis://h?wait_ms=100ms", "none is waited for"),
        ("redis://h?timeuot=1s", "did you mean 'timeout'"),
        ("redis://h?allow_eviction=maybe", "allow_eviction"),
        ("redis://h?protocol=3", "protocol"),
    ],
)
def test_what_cannot_be_meant_is_refused_and_named(url: str, says: str):
    with pytest.raises(ConfigError, match=says):
        located(url)


@pytest.mark.parametrize("url", ["redis://h", "redis+unix:///s", "redis+sentinel://h/m"])
def test_tls_settings_beside_a_plaintext_url_are_refused(url: str):
    with pytest.raises(ConfigError, match="does not use TLS"):
        located(url, TlsConfig(ca_certificate_file="ca.pem"))


@pytest.mark.parametrize(
    "url", ["redis://u:hunter2@h/abc", "redis://u:hunter2@a,b/0", "redis://u:hunter2@h/1?db=2"]
)
def test_no_refusal_shows_the_password(url: str):
    with pytest.raises(StemError) as refused:
        located(url)
    assert "hunter2" not in f"{refused.value}{refused.value!r}"
    assert isinstance(refused.value, InvalidURL)

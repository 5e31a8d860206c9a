"""From a URL to a database, or the reason why not."""

from __future__ import annotations

import pytest

from stem_core.plugin import ConfigError, Host, InvalidURL, StemURL, TlsConfig, options_from_query
from stem_postgres.location import Location, location_of
from stem_postgres.options import PostgresOptions


def place(text: str, tls: TlsConfig | None = None) -> Location:
    url = StemURL.parse(text)
    options = options_from_query(PostgresOptions, url.query, source="url")
    return location_of(url, options, tls or TlsConfig())


def test_a_url_says_where_and_who():
    found = place("postgresql://bob:s%40cret@db:5433/shop?schema=tasks")
    assert found.hosts == (Host("db", 5433),)
    assert (found.username, found.database, found.schema) == ("bob", "shop", "tasks")
    assert found.password is not None
    assert found.password.reveal() == "s@cret"
    assert "cret" not in found.shown + repr(found)


def test_several_hosts_stay_in_order():
    found = place("postgresql://one,two:5433/shop?target_session_attrs=read-write")
    assert found.hosts == (Host("one"), Host("two", 5433))


def test_a_socket_is_named_by_its_folder_and_port():
    assert place("postgresql:///shop?host=/run/pg&port=5433").hosts == (Host("/run/pg", 5433),)


def test_tls_settings_mean_that_the_server_is_checked():
    found = place("postgresql://db", TlsConfig(ca_certificate_file="/ca.pem"))
    assert found.tls == {"sslmode": "verify-full", "sslrootcert": "/ca.pem"}


def test_insecure_tls_trusts_nobody_in_particular():
    found = place("postgresql://db?sslrootcert=/x.pem", TlsConfig(allow_insecure=True))
    assert found.tls == {"sslmode": "require"}


def test_without_tls_settings_the_url_decides():
    assert place("postgresql://db?sslmode=verify-ca").tls == {"sslmode": "verify-ca"}
    assert place("postgresql://db").tls == {}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("postgresql://db/shop/0", "database"),
        ("postgresql://db?host=/run/pg", "host="),
        ("postgresql://u:p@db?password=other", "password="),
        ("postgresql://db?schema=No", "schema="),
        ('postgresql://db?schema=a";drop', "schema="),
        ("postgresql://db?sslmode=yes", "sslmode="),
        ("postgresql://db?target_session_attrs=best", "target_session_attrs="),
        ("postgresql://db?target_session_attrs=standby", "works on no standby"),
        ("postgresql://db?target_session_attrs=prefer-standby", "works on no standby"),
        ("postgresql://db?target_session_attrs=read-only", "works on no standby"),
        ("postgresql://db?timeout=0s", "timeout="),
        ("postgresql://db?max_connections=0", "max_connections="),
        ("postgresql://db?poll=0s", "poll="),
        ("postgresql://db?pol=1s", "pol"),
    ],
)
def test_what_makes_no_sense_is_named(text: str, named: str):
    with pytest.raises((InvalidURL, ConfigError), match=named):
        place(text)


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer"])
def test_tls_settings_and_a_mode_that_may_go_without_are_refused(mode: str):
    with pytest.raises(ConfigError, match=f"sslmode={mode}"):
        place(f"postgresql://db?sslmode={mode}", TlsConfig(ca_certificate_file="/ca.pem"))

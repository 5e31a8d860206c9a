"""What an error of the server or the driver means."""

from __future__ import annotations

import socket
import ssl

import pytest
from redis import exceptions

from stem_core.plugin import Fault, StoreError, StoreFull, StoreMisconfigured, StoreUnavailable
from stem_redis.errors import WrongType, translated

AT = "redis://:***@h/0"


@pytest.mark.parametrize(
    ("error", "kind", "fault", "says"),
    [
        (exceptions.ConnectionError("x"), StoreUnavailable, Fault.RECONNECT, "cannot be reached"),
        (exceptions.TimeoutError("x"), StoreUnavailable, Fault.RECONNECT, "in time"),
        (TimeoutError(), StoreUnavailable, Fault.RECONNECT, "in time"),
        (ConnectionResetError(104, "reset"), StoreUnavailable, Fault.RECONNECT, "reset"),
        (exceptions.BusyLoadingError("x"), StoreUnavailable, Fault.BACKOFF, "loading"),
        (exceptions.ReadOnlyError("x"), StoreUnavailable, Fault.RECONNECT, "replica"),
        (exceptions.ResponseError("MISCONF Redis is"), StoreUnavailable, Fault.BACKOFF, "disk"),
        (exceptions.ResponseError("BUSY Redis is"), StoreUnavailable, Fault.BACKOFF, "script"),
        (exceptions.MasterDownError("x"), StoreUnavailable, Fault.BACKOFF, "master"),
        (exceptions.ClusterDownError("x"), StoreUnavailable, Fault.BACKOFF, "cluster"),
        (exceptions.OutOfMemoryError("x"), StoreFull, Fault.FULL, "maxmemory"),
        (exceptions.AuthenticationError("x"), StoreMisconfigured, Fault.FATAL_CONFIG, "user"),
        (
            exceptions.AuthenticationError("Authentication required."),
            StoreMisconfigured,
            Fault.FATAL_CONFIG,
            "asks for a password",
        ),
        (exceptions.NoPermissionError("x"), StoreMisconfigured, Fault.FATAL_CONFIG, "allow"),
        (exceptions.NoScriptError("x"), StoreError, Fault.RELOAD, "forgotten"),
        (exceptions.ResponseError("ERR syntax"), StoreError, Fault.DATA, "syntax"),
        (ssl.SSLCertVerificationError(1, "x"), StoreMisconfigured, Fault.FATAL_CONFIG, "TLS"),
        (ssl.SSLEOFError(8, "EOF"), StoreUnavailable, Fault.RECONNECT, "cannot be reached"),
        (socket.gaierror(-2, "Name unknown"), StoreUnavailable, Fault.RECONNECT, "Name unknown"),
    ],
)
def test_each_error_is_one_of_ours_and_says_what_to_do(
    error: Exception, kind: type[StoreError], fault: Fault, says: str
):
    mine = translated(error, AT)
    assert type(mine) is kind
    assert mine.fault is fault
    assert says in mine.message
    assert mine.message.startswith(AT)


def said_by_tls(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, f"[SSL: {reason}]")
    error.reason = reason
    return error


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("DECRYPTION_FAILED_OR_BAD_RECORD_MAC", StoreUnavailable),
        ("APPLICATION_DATA_AFTER_CLOSE_NOTIFY", StoreUnavailable),
        ("TLSV1_ALERT_INTERNAL_ERROR", StoreUnavailable),
        ("UNEXPECTED_EOF_WHILE_READING", StoreUnavailable),
        ("TLSV13_ALERT_CERTIFICATE_REQUIRED", StoreMisconfigured),
        ("TLSV1_ALERT_UNKNOWN_CA", StoreMisconfigured),
        ("TLSV1_ALERT_PROTOCOL_VERSION", StoreMisconfigured),
        ("SSLV3_ALERT_HANDSHAKE_FAILURE", StoreMisconfigured),
        ("WRONG_VERSION_NUMBER", StoreMisconfigured),
        ("NO_SHARED_CIPHER", StoreMisconfigured),
    ],
)
def test_of_what_tls_says_only_mistrust_is_a_matter_for_people(reason: str, kind: type[StoreError]):
    error = ConnectionError("x")
    error.__cause__ = said_by_tls(reason)
    assert type(translated(error, AT)) is kind


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (
            "ERR Error running script (call to f_1): @user_script:12: -OOM command not allowed "
            "when used memory > 'maxmemory'.",
            StoreFull,
        ),
        ("OOM command not allowed when used memory > 'maxmemory'. script: 1", StoreFull),
        (
            "ERR Error running script (call to f_1): @user_script:9: WRONGTYPE Operation against "
            "a key holding the wrong kind of value",
            WrongType,
        ),
        ("WRONGTYPE Operation against a key script: 1, on @user_script:9.", WrongType),
        (
            "ERR Error running script (call to f_1): @user_script:9: -READONLY You can't write "
            "against a read only replica.",
            StoreUnavailable,
        ),
        (
            "ERR ACL failure in script: No permissions to access a channel script: 1, on "
            "@user_script:53.",
            StoreMisconfigured,
        ),
        (
            "ERR Error running script (call to f_1): @user_script:9: The user executing the script "
            "can't run this command or subcommand",
            StoreMisconfigured,
        ),
    ],
)
def test_an_error_inside_a_script_is_known_in_every_version(text: str, kind: type[StoreError]):
    assert type(translated(exceptions.ResponseError(text), AT)) is kind


def test_what_the_driver_says_of_a_url_is_not_repeated():
    error = exceptions.ConnectionError("Error connecting to redis://bob:hunter2@h")
    assert "hunter2" not in str(translated(error, AT))


def test_one_of_ours_passes_unchanged():
    mine = StoreFull("full")
    assert translated(mine, AT) is mine

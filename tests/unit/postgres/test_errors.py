"""What the driver raises, as our errors; and that no secret is in them."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import errors

from stem_core.plugin import Fault, StoreError, StoreMisconfigured, StoreUnavailable
from stem_postgres.errors import is_lost_race, translated

WHERE = "postgresql://user:***@db/shop"


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (errors.AdminShutdown(), Fault.RECONNECT),
        (errors.CrashShutdown(), Fault.RECONNECT),
        (errors.CannotConnectNow(), Fault.RECONNECT),
        (errors.ReadOnlySqlTransaction(), Fault.RECONNECT),
        (errors.IdleSessionTimeout(), Fault.RECONNECT),
        (errors.ConnectionFailure(), Fault.RECONNECT),
        (errors.TooManyConnections(), Fault.BACKOFF),
        (errors.LockNotAvailable(), Fault.BACKOFF),
        (errors.QueryCanceled(), Fault.BACKOFF),
        (errors.SerializationFailure(), Fault.RETRY_TXN),
        (errors.DeadlockDetected(), Fault.RETRY_TXN),
        (errors.FeatureNotSupported(), Fault.RELOAD),
        (errors.InvalidSqlStatementName(), Fault.RELOAD),
        (errors.DiskFull(), Fault.FULL),
        (errors.OutOfMemory(), Fault.FULL),
        (errors.InvalidPassword(), Fault.FATAL_CONFIG),
        (errors.InvalidAuthorizationSpecification(), Fault.FATAL_CONFIG),
        (errors.InsufficientPrivilege(), Fault.FATAL_CONFIG),
        (errors.UndefinedTable(), Fault.FATAL_CONFIG),
        (errors.InvalidSchemaName(), Fault.FATAL_CONFIG),
        (errors.UndefinedFunction(), Fault.FATAL_CONFIG),
        (errors.DuplicatePreparedStatement(), Fault.FATAL_CONFIG),
        (errors.ProtocolViolation("transaction blocks not allowed in statement pooling mode"),
         Fault.FATAL_CONFIG),
        (errors.ProtocolViolation("bind message has 2 parameter formats"), Fault.RECONNECT),
        (errors.CharacterNotInRepertoire(), Fault.DATA),
        (errors.NumericValueOutOfRange(), Fault.DATA),
        (psycopg.OperationalError("server closed the connection unexpectedly"), Fault.RECONNECT),
        (TimeoutError(), Fault.RECONNECT),
        (ConnectionRefusedError(111, "Connection refused"), Fault.RECONNECT),
    ],
)  # fmt: skip
def test_each_failure_says_what_to_do_next(error: Exception, fault: Fault):
    mine = translated(error, WHERE)
    assert mine.fault is fault
    assert mine.message.startswith(WHERE)


LOST = [
    "consuming input failed: SSL error: unexpected eof while reading",
    "consuming input failed: SSL SYSCALL error: EOF detected",
    "consuming input failed: SSL SYSCALL error: Connection reset by peer",
    "consuming input failed: SSL connection has been closed unexpectedly",
    "connection failed: SSL SYSCALL error: Broken pipe",
]


@pytest.mark.parametrize("words", LOST)
@pytest.mark.parametrize("at_log_in", [False, True])
def test_a_connection_that_tls_has_lost_is_lost(words: str, at_log_in: bool):
    mine = translated(psycopg.OperationalError(words), WHERE, at_log_in=at_log_in)
    assert type(mine) is StoreUnavailable
    assert mine.fault is Fault.RECONNECT


@pytest.mark.parametrize(
    "words",
    [
        "SSL error: certificate verify failed",
        'server certificate for "db" does not match host name "localhost"',
        "server does not support SSL, but SSL was required",
        'root certificate file "/ca.pem" does not exist',
        'private key file "/key.pem" has group or world access',
        'could not load private key file "/key.pem": bad decrypt',
        "SSL error: unsupported protocol",
        "SSL error: tlsv1 alert protocol version",
        "SSL error: tlsv13 alert certificate required",
        "SSL error: sslv3 alert handshake failure",
    ],
)
def test_a_handshake_that_cannot_come_about_is_a_matter_for_people(words: str):
    error = psycopg.OperationalError(f"connection failed: {words}")
    assert type(translated(error, WHERE, at_log_in=True)) is StoreMisconfigured
    assert type(translated(error, WHERE)) is StoreUnavailable  # for one that stood once


def test_a_handshake_that_fails_for_an_unknown_reason_is_tried_again_and_said():
    error = psycopg.OperationalError("connection failed: SSL error: internal error")
    mine = translated(error, WHERE, at_log_in=True)
    assert (mine.fault, "handshake" in mine.message) == (Fault.RECONNECT, True)


def test_what_is_refused_without_tls_is_no_refusal_where_tls_was_only_cut():
    pg_hba = 'FATAL:  no pg_hba.conf entry for host "h", user "u", no encryption'
    cut = f"connection failed: SSL SYSCALL error: EOF detected\nconnection failed: {pg_hba}"
    for text, kind in ((cut, StoreUnavailable), (pg_hba, StoreMisconfigured)):
        assert type(translated(psycopg.OperationalError(text), WHERE, at_log_in=True)) is kind


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ("FATAL:  unsupported startup parameter: options", Fault.FATAL_CONFIG),
        ("connection refused: FATAL: sorry, too many clients already", Fault.BACKOFF),
        ('FATAL:  password authentication failed for user "u"', Fault.FATAL_CONFIG),
        ('FATAL:  database "x" does not exist', Fault.FATAL_CONFIG),
        ("FATAL:  the database system is starting up", Fault.RECONNECT),
        ("Connection refused", Fault.RECONNECT),
    ],
)
def test_the_words_of_a_failed_log_in_say_what_to_do_next(words: str, fault: Fault):
    mine = translated(psycopg.OperationalError(words), WHERE, at_log_in=True)
    assert mine.fault is fault
    assert mine.message.startswith(WHERE)


def test_missing_tables_name_the_command():
    assert "stem migrate up" in str(translated(errors.UndefinedTable(), WHERE))


@pytest.mark.parametrize(
    "error",
    [
        errors.DuplicatePreparedStatement(),
        psycopg.OperationalError(
            "FATAL:  unsupported startup parameter in options: default_transaction_isolation"
        ),
    ],
)
def test_a_pooler_that_keeps_no_session_names_the_option(error: Exception):
    assert "pooler=true" in str(translated(error, WHERE, at_log_in=True))


def test_unknown_words_of_a_failed_log_in_are_not_repeated():
    mine = translated(psycopg.OperationalError('invalid token: "s3cret"'), WHERE, at_log_in=True)
    assert "s3cret" not in str(mine)
    assert isinstance(mine, StoreUnavailable)


def test_our_own_errors_pass():
    mine = StoreError("x")
    assert translated(mine, WHERE) is mine


def test_only_lost_races_are_run_again():
    assert is_lost_race(errors.SerializationFailure())
    assert is_lost_race(errors.DeadlockDetected())
    assert not is_lost_race(errors.QueryCanceled())
    assert not is_lost_race(TimeoutError())


@pytest.mark.parametrize("whose", ['role "shop"', 'database "shop"'])
def test_a_limit_of_connections_is_no_wrong_account(whose: str):
    error = psycopg.OperationalError(f"FATAL:  too many connections for {whose}")
    assert translated(error, WHERE, at_log_in=True).fault is Fault.BACKOFF

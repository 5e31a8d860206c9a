"""What the driver raises, as our errors; and that no secret is in them."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import errors

from stem_core.plugin import Fault, StoreError, StoreUnavailable
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
        (psycopg.OperationalError("FATAL:  unsupported startup parameter: options"),
         Fault.FATAL_CONFIG),
        (errors.ProtocolViolation("transaction blocks not allowed in statement pooling mode"),
         Fault.FATAL_CONFIG),
        (errors.ProtocolViolation("bind message has 2 parameter formats"), Fault.RECONNECT),
        (errors.CharacterNotInRepertoire(), Fault.DATA),
        (errors.NumericValueOutOfRange(), Fault.DATA),
        (psycopg.OperationalError("server closed the connection unexpectedly"), Fault.RECONNECT),
        (psycopg.OperationalError("connection refused: FATAL: sorry, too many clients already"),
         Fault.BACKOFF),
        (psycopg.OperationalError('FATAL:  password authentication failed for user "u"'),
         Fault.FATAL_CONFIG),
        (psycopg.OperationalError('FATAL:  database "x" does not exist'), Fault.FATAL_CONFIG),
        (psycopg.OperationalError("FATAL:  the database system is starting up"), Fault.RECONNECT),
        (psycopg.OperationalError("SSL error: certificate verify failed"), Fault.FATAL_CONFIG),
        (TimeoutError(), Fault.RECONNECT),
        (ConnectionRefusedError(111, "Connection refused"), Fault.RECONNECT),
    ],
)  # fmt: skip
def test_each_failure_says_what_to_do_next(error: Exception, fault: Fault):
    mine = translated(error, WHERE)
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
    assert "pooler=true" in str(translated(error, WHERE))


def test_unknown_words_of_a_failed_log_in_are_not_repeated():
    mine = translated(psycopg.OperationalError('invalid token: "s3cret"'), WHERE)
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

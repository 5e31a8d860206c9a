"""Everything Stem raises, as one tree.

Each error carries a stable `code` (for programs), a message that names the
thing and the value (never a secret), and usually a `way_out` (for people).
Catch the family you can act on::

    StemError
    ├── ConfigError                    a URL, a variable or an option is wrong        exit 4
    │   ├── InvalidURL
    │   ├── MissingSetting
    │   └── CapabilityMissing          an option that this broker cannot honour
    ├── PluginError                    a plugin is absent, broken or ambiguous        exit 4
    │   ├── UnknownScheme
    │   ├── PluginConflict
    │   ├── PluginBroken
    │   ├── PluginDisabled
    │   └── PluginApiMismatch
    ├── UsageError                     the program uses Stem wrongly
    │   ├── InvalidTask                a function that cannot be a task
    │   ├── DuplicateTask
    │   ├── UnknownTask
    │   ├── UseAwait                   a blocking call inside a running event loop
    │   └── WrongLoop                  a handle used outside its loop or process
    ├── EnqueueError                   this call was refused; nothing was published
    │   ├── InvalidArguments
    │   ├── InvalidOption
    │   ├── InvalidName
    │   ├── NotEncodable               a value that strict JSON cannot carry
    │   ├── PayloadTooLarge
    │   ├── IdConflict
    │   └── PublishRefused
    ├── DecodeError                    bytes that are not what they should be
    │   ├── MalformedEnvelope
    │   ├── UnsupportedVersion
    │   └── ResultCorrupt
    ├── SignatureError
    │   ├── SignatureMissing
    │   └── SignatureInvalid
    ├── StoreError                     a broker or backend could not do its work      exit 5
    │   ├── StoreUnavailable
    │   ├── StoreFull
    │   └── StoreMisconfigured
    ├── LeaseLost                      somebody else holds the task now
    └── ResultError
        ├── TaskFailed
        ├── TaskCancelled
        ├── ResultTimeout
        ├── ResultExpired
        └── NoResultBackend

Apart from them stand the signals that a *task* raises to say how it ends
(`TaskSignal`: `Retry`, `Snooze`, `Discard`, `Reject`) and the one that Stem
raises inside it (`SoftTimeLimitExceeded`). Those are outcomes, not errors.
"""

from __future__ import annotations

from datetime import timedelta
from enum import Enum
from typing import Any, ClassVar, Final

__all__ = [
    "CapabilityMissing",
    "ConfigError",
    "DecodeError",
    "Discard",
    "DuplicateTask",
    "EnqueueError",
    "Fault",
    "IdConflict",
    "InvalidArguments",
    "InvalidName",
    "InvalidOption",
    "InvalidTask",
    "InvalidURL",
    "LeaseLost",
    "MalformedEnvelope",
    "MissingSetting",
    "NoResultBackend",
    "NotEncodable",
    "PayloadTooLarge",
    "PluginApiMismatch",
    "PluginBroken",
    "PluginConflict",
    "PluginDisabled",
    "PluginError",
    "PublishRefused",
    "Reject",
    "ResultCorrupt",
    "ResultError",
    "ResultExpired",
    "ResultTimeout",
    "Retry",
    "SignatureError",
    "SignatureInvalid",
    "SignatureMissing",
    "Snooze",
    "SoftTimeLimitExceeded",
    "StemError",
    "StoreError",
    "StoreFull",
    "StoreMisconfigured",
    "StoreUnavailable",
    "TaskCancelled",
    "TaskFailed",
    "TaskSignal",
    "UnknownScheme",
    "UnknownTask",
    "UnsupportedVersion",
    "UsageError",
    "UseAwait",
    "WrongLoop",
]


class StemError(Exception):
    """The root of everything that Stem raises.

    Attributes:
        code: a stable identifier, for programs and for searching the docs.
        message: what is wrong, naming the thing and its value.
        way_out: what to do about it; empty when there is nothing to add.
    """

    code: ClassVar[str] = "stem"

    def __init__(self, message: str, *, way_out: str = "") -> None:
        super().__init__(message)
        self.message: Final = message
        self.way_out: Final = way_out

    def __str__(self) -> str:
        return f"{self.message}\n  {self.way_out}" if self.way_out else self.message

    def __reduce__(self) -> tuple[Any, ...]:
        # Keyword-only fields do not survive the default protocol; task errors do cross processes.
        return _rebuild, (type(self), self.args, self.__dict__)


def _rebuild(kind: type[StemError], args: tuple[Any, ...], state: dict[str, Any]) -> StemError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


# ── configuration ────────────────────────────────────────────────────────────


class ConfigError(StemError):
    """A URL, an environment variable or an option is wrong; nothing was started."""

    code = "config"


class InvalidURL(ConfigError):
    """A URL cannot be understood. The message never repeats its secrets."""

    code = "config-url"


class MissingSetting(ConfigError):
    """Something that has no default was not given."""

    code = "config-missing"


class CapabilityMissing(ConfigError):
    """An option asks for what this broker or this release cannot do.

    Raised at start or at enqueue: no option is ever ignored in silence.
    """

    code = "capability-missing"


# ── plugins ──────────────────────────────────────────────────────────────────


class PluginError(StemError):
    """A plugin that is needed cannot be used."""

    code = "plugin"


class UnknownScheme(PluginError):
    """No installed plugin opens URLs of this scheme."""

    code = "plugin-unknown-scheme"


class PluginConflict(PluginError):
    """Two distributions claim one scheme."""

    code = "plugin-conflict"


class PluginBroken(PluginError):
    """The plugin was found but failed to load; the cause is in the message."""

    code = "plugin-broken"


class PluginDisabled(PluginError):
    """The plugin is installed and switched off by `STEM_PLUGINS_DISABLE`."""

    code = "plugin-disabled"


class PluginApiMismatch(PluginError):
    """The plugin was written for a plugin API that this stem-core does not offer."""

    code = "plugin-api"


# ── use ──────────────────────────────────────────────────────────────────────


class UsageError(StemError):
    """The program uses Stem in a way that cannot work."""

    code = "usage"


class InvalidTask(UsageError):
    """This function cannot be a task; raised where it is decorated."""

    code = "task-invalid"


class DuplicateTask(UsageError):
    """Two tasks have one name."""

    code = "task-duplicate"


class UnknownTask(UsageError):
    """No task of this name is registered here."""

    code = "task-unknown"


class UseAwait(UsageError):
    """A blocking call was made inside a running event loop, which it would stop."""

    code = "use-await"


class WrongLoop(UsageError):
    """A handle was used outside the event loop or the process that it belongs to."""

    code = "wrong-loop"


# ── enqueue ──────────────────────────────────────────────────────────────────


class EnqueueError(StemError):
    """This call was refused; nothing of it was published."""

    code = "enqueue"


class InvalidArguments(EnqueueError):
    """The arguments do not fit the task's signature."""

    code = "arguments-invalid"


class InvalidOption(EnqueueError):
    """An option has a value that it cannot have."""

    code = "option-invalid"


class InvalidName(EnqueueError):
    """A queue, task, namespace or id has characters or a length that no store can keep."""

    code = "name-invalid"


class NotEncodable(EnqueueError):
    """A value that strict JSON cannot carry; the message holds the path to it."""

    code = "not-encodable"


class PayloadTooLarge(EnqueueError):
    """The encoded envelope or result is larger than the limit."""

    code = "payload-too-large"


class IdConflict(EnqueueError):
    """The id is in use by an envelope with another body."""

    code = "id-conflict"


class PublishRefused(EnqueueError):
    """The broker refused this message; the reason is in the message."""

    code = "publish-refused"


# ── bytes ────────────────────────────────────────────────────────────────────


class DecodeError(StemError):
    """Bytes that are not what they should be."""

    code = "decode-error"


class MalformedEnvelope(DecodeError):
    """Not an envelope."""

    code = "envelope-malformed"


class UnsupportedVersion(DecodeError):
    """An envelope of a wire version that this release does not read."""

    code = "envelope-version"


class ResultCorrupt(DecodeError):
    """A stored result that cannot be read."""

    code = "result-corrupt"


class SignatureError(StemError):
    """The signature of an envelope does not vouch for it.

    Attributes:
        why: which check failed, in a word, for the log of who verifies; it is no part of
            the message, which tells a forger nothing. Empty when nobody says.
    """

    code = "signature"

    def __init__(self, message: str, *, way_out: str = "", why: str = "") -> None:
        super().__init__(message, way_out=way_out)
        self.why: Final = why


class SignatureMissing(SignatureError):
    """A signature is required and absent."""

    code = "signature-missing"


class SignatureInvalid(SignatureError):
    """The signature, or a routing field that it covers, does not match."""

    code = "signature-invalid"


# ── stores ───────────────────────────────────────────────────────────────────


class Fault(Enum):
    """What a driver's error means for the caller. Every adapter maps its driver onto it once.

    Source: the classes that Redis, Postgres and SQLite errors fall into when
    asked "what must the caller do next?".
    """

    RECONNECT = "reconnect"  # the connection is gone: open another one
    BACKOFF = "backoff"  # the server is there and busy: wait, then again
    RETRY_TXN = "retry-txn"  # the transaction lost a race: run it again at once
    RECREATE = "recreate"  # a structure of ours vanished: make it again
    RELOAD = "reload"  # a script or prepared statement vanished: send it again
    FULL = "full"  # no room: producers stop, workers drain on
    FATAL_CONFIG = "fatal-config"  # credentials, permissions, TLS: a person must act
    DATA = "data"  # this message or key is bad; its neighbours are not


class StoreError(StemError):
    """A broker or backend could not do its work; `fault` says what kind of failure it was."""

    code = "store"
    default_fault: ClassVar[Fault] = Fault.BACKOFF

    def __init__(self, message: str, *, fault: Fault | None = None, way_out: str = "") -> None:
        super().__init__(message, way_out=way_out)
        self.fault: Final = fault or self.default_fault


class StoreUnavailable(StoreError):
    """The store cannot be reached, or did not answer within the deadline."""

    code = "store-unavailable"
    default_fault = Fault.RECONNECT


class StoreFull(StoreError):
    """The store has no room for more."""

    code = "store-full"
    default_fault = Fault.FULL


class StoreMisconfigured(StoreError):
    """Credentials, permissions or settings at the store are wrong."""

    code = "store-misconfigured"
    default_fault = Fault.FATAL_CONFIG


class LeaseLost(StemError):
    """The lease lapsed and the task belongs to somebody else; nothing was changed."""

    code = "lease-lost"


# ── results ──────────────────────────────────────────────────────────────────


class ResultError(StemError):
    """There is no value to return."""

    code = "result"


class TaskFailed(ResultError):
    """The task failed for good. Data only: nothing from the worker is imported or unpickled.

    Attributes:
        task_id: the task.
        type_name: the name of the exception's type in the worker.
        state: the terminal state: ``failed``, ``dead``, ``discarded`` or ``expired``.
    """

    code = "task-failed"

    def __init__(
        self,
        message: str,
        *,
        task_id: str = "",
        type_name: str = "",
        state: str = "failed",
        way_out: str = "",
    ) -> None:
        super().__init__(message, way_out=way_out)
        self.task_id: Final = task_id
        self.type_name: Final = type_name
        self.state: Final = state


class TaskCancelled(ResultError):
    """The task was cancelled."""

    code = "task-cancelled"


class ResultTimeout(ResultError, TimeoutError):
    """No result within the time given. The task goes on."""

    code = "result-timeout"


class ResultExpired(ResultError):
    """The result is unknown: it was never enqueued here, or its retention ended."""

    code = "result-expired"


class NoResultBackend(ResultError):
    """This Stem has no result backend, so nobody remembers results."""

    code = "no-result-backend"


# ── how a task says that it ends ─────────────────────────────────────────────


class TaskSignal(Exception):
    """Raised by a task to choose its outcome."""


class Retry(TaskSignal):
    """Try again *after* a while; uses up one attempt.

    Without *after* the task's retry policy decides how long.
    """

    def __init__(self, after: timedelta | float | str | None = None, *, reason: str = "") -> None:
        super().__init__(reason)
        self.after: Final = after
        self.reason: Final = reason


class Snooze(TaskSignal):
    """Come back *after* a while; uses up no attempt.

    Not sooner than after 100 ms: a task that has nothing to do yet must not keep its
    worker and its store busy with saying so.
    """

    def __init__(self, after: timedelta | float | str, *, reason: str = "") -> None:
        super().__init__(reason)
        self.after: Final = after
        self.reason: Final = reason


class Discard(TaskSignal):
    """There is nothing to do any more: end as ``discarded``, without a dead letter."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason: Final = reason


class Reject(TaskSignal):
    """A person must look at this: go to the dead letters now, whatever attempts are left."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason: Final = reason


class SoftTimeLimitExceeded(Exception):
    """Raised inside a task when its soft time limit is over: clean up and end."""

"""Stem: function calls that run somewhere else, later, and are not lost.

What users import stands here. Nothing is loaded before it is asked for (PEP 562), so
``import stem_core`` costs next to nothing. No room of the house imports this module.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from stem_core.contracts.hookspecs import Middleware
    from stem_core.contracts.messages import CancelStatus, Delivery
    from stem_core.embedded.memory.backend import InMemoryResultBackend
    from stem_core.embedded.memory.broker import InMemoryBroker
    from stem_core.model.duration import Duration
    from stem_core.model.envelope import Envelope
    from stem_core.model.errors import (
        CapabilityMissing,
        ConfigError,
        DecodeError,
        Discard,
        DuplicateTask,
        EnqueueError,
        Fault,
        IdConflict,
        InvalidArguments,
        InvalidName,
        InvalidOption,
        InvalidTask,
        InvalidURL,
        LeaseLost,
        MalformedEnvelope,
        MissingSetting,
        NoResultBackend,
        NotEncodable,
        PayloadTooLarge,
        PluginApiMismatch,
        PluginBroken,
        PluginConflict,
        PluginDisabled,
        PluginError,
        PublishRefused,
        Reject,
        ResultCorrupt,
        ResultError,
        ResultExpired,
        ResultTimeout,
        Retry,
        SignatureError,
        SignatureInvalid,
        SignatureMissing,
        Snooze,
        SoftTimeLimitExceeded,
        StemError,
        StoreError,
        StoreFull,
        StoreMisconfigured,
        StoreUnavailable,
        TaskCancelled,
        TaskFailed,
        TaskSignal,
        UnknownScheme,
        UnknownTask,
        UnsupportedVersion,
        UsageError,
        UseAwait,
        WrongLoop,
    )
    from stem_core.model.options import TaskOptions, Unique
    from stem_core.model.outcome import State, TaskError, TaskStatus
    from stem_core.model.retry import RetryPolicy
    from stem_core.model.settings import SigningConfig, StemConfig, TlsConfig
    from stem_core.producer.client import Stem
    from stem_core.producer.context import TaskContext
    from stem_core.producer.job import BlockingJob, Job
    from stem_core.producer.listing import StatusPage
    from stem_core.producer.registry import SimpleTaskRegistry, TaskRegistry
    from stem_core.producer.signing import PayloadSigner
    from stem_core.producer.tasks import Call, Task
    from stem_core.worker.worker import Worker

    __version__: str

_HOMES: Final = {
    "stem_core.contracts.hookspecs": ("Middleware",),
    "stem_core.contracts.messages": ("CancelStatus", "Delivery"),
    "stem_core.embedded.memory.backend": ("InMemoryResultBackend",),
    "stem_core.embedded.memory.broker": ("InMemoryBroker",),
    "stem_core.model.duration": ("Duration",),
    "stem_core.model.envelope": ("Envelope",),
    "stem_core.model.errors": (
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
    ),
    "stem_core.model.options": ("TaskOptions", "Unique"),
    "stem_core.model.outcome": ("State", "TaskError", "TaskStatus"),
    "stem_core.model.retry": ("RetryPolicy",),
    "stem_core.model.settings": ("SigningConfig", "StemConfig", "TlsConfig"),
    "stem_core.producer.client": ("Stem",),
    "stem_core.producer.context": ("TaskContext",),
    "stem_core.producer.job": ("BlockingJob", "Job"),
    "stem_core.producer.listing": ("StatusPage",),
    "stem_core.producer.registry": ("SimpleTaskRegistry", "TaskRegistry"),
    "stem_core.producer.signing": ("PayloadSigner",),
    "stem_core.producer.tasks": ("Call", "Task"),
    "stem_core.worker.worker": ("Worker",),
}
_HOME_OF: Final = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "BlockingJob",
    "Call",
    "CancelStatus",
    "CapabilityMissing",
    "ConfigError",
    "DecodeError",
    "Delivery",
    "Discard",
    "DuplicateTask",
    "Duration",
    "EnqueueError",
    "Envelope",
    "Fault",
    "IdConflict",
    "InMemoryBroker",
    "InMemoryResultBackend",
    "InvalidArguments",
    "InvalidName",
    "InvalidOption",
    "InvalidTask",
    "InvalidURL",
    "Job",
    "LeaseLost",
    "MalformedEnvelope",
    "Middleware",
    "MissingSetting",
    "NoResultBackend",
    "NotEncodable",
    "PayloadSigner",
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
    "RetryPolicy",
    "SignatureError",
    "SignatureInvalid",
    "SignatureMissing",
    "SigningConfig",
    "SimpleTaskRegistry",
    "Snooze",
    "SoftTimeLimitExceeded",
    "State",
    "StatusPage",
    "Stem",
    "StemConfig",
    "StemError",
    "StoreError",
    "StoreFull",
    "StoreMisconfigured",
    "StoreUnavailable",
    "Task",
    "TaskCancelled",
    "TaskContext",
    "TaskError",
    "TaskFailed",
    "TaskOptions",
    "TaskRegistry",
    "TaskSignal",
    "TaskStatus",
    "TlsConfig",
    "Unique",
    "UnknownScheme",
    "UnknownTask",
    "UnsupportedVersion",
    "UsageError",
    "UseAwait",
    "Worker",
    "WrongLoop",
    "__version__",
]


if not TYPE_CHECKING:  # checkers know every name, and would take any other for one

    def __getattr__(name: str) -> Any:
        if name == "__version__":
            value = import_module("importlib.metadata").version("stem-core")
        elif (home := _HOME_OF.get(name)) is not None:
            value = getattr(import_module(home), name)
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

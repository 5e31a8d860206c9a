"""What is measured for each store: which systems, which phases, and what stands behind them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

__all__ = ["DISTRIBUTION", "LIMIT", "MEMORY", "SQLITE", "Suite"]

LIMIT = "limit"
DISTRIBUTION = {"stem": "stem-core"}


@dataclass(frozen=True, kw_only=True)
class Suite:
    """One store.

    Attributes:
        systems: the columns; Stem, as it promises most, is the first.
        peers: those that the ratio is about.
        commands: the script of each system and its last arguments.
        phases: the phases of a script and how many calls each makes, as a share of the
            count, or a number of 10 and more; those of one system alone stand under its name.
        compared_with: a figure of Stem and the figure of a peer that it is compared with,
            where they are not called the same.
    """

    name: str
    title: str
    page: str
    systems: Sequence[str]
    peers: Sequence[str]
    commands: Mapping[str, Sequence[str]]
    phases: Mapping[str, Mapping[str, float]]
    throughput: dict[str, str]
    others: dict[str, str]
    others_title: str
    guarantees: Mapping[str, str]
    compared_with: Mapping[str, str] = field(default_factory=dict)
    module: Mapping[str, str] = field(default_factory=dict)
    help: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def command(self, system: str) -> Sequence[str]:
        """Return the script of *system* and its last arguments."""
        return self.commands[system]

    def phases_of(self, system: str) -> Iterator[tuple[str, float]]:
        """Yield the phases of *system* and how many calls each makes."""
        yield from (self.phases.get(system) or self.phases[""]).items()


MEMORY = Suite(
    name="memory",
    title="memory brokers",
    page="RESULTS.md",
    systems=("stem", "huey", "taskiq", "dramatiq"),
    peers=("huey", "taskiq", "dramatiq"),
    commands={
        name: (f"{name}_memory.py",) for name in ("stem", "huey", "taskiq", "dramatiq", LIMIT)
    },
    phases={"": {"throughput": 1, "latency": 300}, LIMIT: {"throughput": 1}},
    throughput={
        "enqueue_per_s": "enqueue, one at a time",
        "enqueue_many_per_s": "enqueue_many, one call",
        "drain_per_s": "drain, without results",
        "drain_results_per_s": "drain, with results",
    },
    others={
        "latency_p50_ms": "idle latency, median",
        "latency_p99_ms": "idle latency, 99th percentile",
        "import_ms": "import, above bare Python",
        "help_ms": "`--help`, whole process",
        "first_task_ms": "process start to first finished task",
    },
    others_title="Latency and start-up, milliseconds",
    guarantees={
        "stem": "strict JSON, arguments checked, lease, fence, result and ack in one step, "
        "thread-safe",
        "huey": "pickle; gone when popped; a failure in the worker loses the task",
        "taskiq": "no queue: the call starts the task in the same loop; JSON-able pydantic models",
        "dramatiq": "JSON; test broker; acknowledged after the run",
        LIMIT: "no promise at all: encode into a deque; decode and one asyncio task each",
    },
    module={
        "stem": "stem_core; stem_core.Stem; stem_core.Worker",
        "huey": "huey",
        "taskiq": "taskiq",
        "dramatiq": "dramatiq",
    },
    help={
        "stem": ("stem", "--help"),
        "huey": ("huey_consumer", "--help"),
        "taskiq": ("taskiq", "--help"),
        "dramatiq": ("dramatiq", "--help"),
    },
)

SQLITE = Suite(
    name="sqlite",
    title="one SQLite file",
    page="RESULTS-SQLITE.md",
    systems=("stem", "stem normal", "huey", "huey nosync"),
    peers=("huey",),
    commands={
        "stem": ("stem_sqlite.py", "full"),
        "stem normal": ("stem_sqlite.py", "normal"),
        "huey": ("huey_sqlite.py", "full"),
        "huey nosync": ("huey_sqlite.py", "normal"),
        LIMIT: ("limit_sqlite.py", "full"),
    },
    phases={
        "stem": {"throughput": 1, "latency": 200, "backlog": 200_000},
        "stem normal": {"throughput": 1, "latency": 200},
        "huey": {"throughput": 0.2, "latency": 200},
        "huey nosync": {"throughput": 0.5, "latency": 200},
        LIMIT: {"throughput": 1},
    },
    throughput={
        "enqueue_per_s": "enqueue, one at a time",
        "enqueue_many_per_s": "enqueue_many (huey: one at a time)",
        "drain_per_s": "drain, without results",
        "drain_results_per_s": "drain, with results",
        "drain_small_per_s": "drain, 5,000 waiting",
        "drain_backlog_per_s": "drain, 200,000 waiting",
    },
    others={
        "latency_p50_ms": "idle latency between two processes, median",
        "latency_p99_ms": "the same, 99th percentile",
    },
    others_title="Latency, milliseconds",
    compared_with={"enqueue_many_per_s": "enqueue_per_s"},
    guarantees={
        "stem": "`durability=full`: each call is on the disk before it returns; lease, fence, "
        "result and ack in one transaction; many processes",
        "stem normal": "`durability=normal`: survives the death of any process, not a power cut",
        "huey": "synced; pickle; gone when popped, so a worker that dies loses its task",
        "huey nosync": "the same with `fsync=False`: a power cut may damage the file",
        LIMIT: "sqlite3 alone, synced: one narrow table; one insert a transaction, 500 in one, "
        "and delete of 100 returning them",
    },
)

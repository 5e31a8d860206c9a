"""What is measured for each store: which systems, which phases, and what stands behind them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

__all__ = ["DISTRIBUTION", "LIMIT", "MEMORY", "POSTGRES", "REDIS", "SQLITE", "Gate", "Suite"]

LIMIT = "limit"
DISTRIBUTION = {"stem": "stem-core"}


@dataclass(frozen=True, kw_only=True)
class Gate:
    """What was asked of a figure of Stem.

    Attributes:
        bound: the least that keeps it; with *at_most* the most.
        aim: what would be best of all, on the same scale; None where nothing is beyond the bound.
        over: empty for the figure itself, ``peers`` for its ratio to the best peer, the name
            of one peer, or of another figure of Stem that it is divided by.
    """

    title: str
    figure: str
    bound: float
    aim: float | None = None
    over: str = ""
    at_most: bool = False

    def keeps(self, measured: float) -> bool:
        """Decide whether *measured* is as good as asked for."""
        return self._is_within(measured, self.bound)

    def reaches(self, measured: float) -> bool:
        """Decide whether *measured* is as good as the aim, if there is one."""
        return self.aim is not None and self._is_within(measured, self.aim)

    def _is_within(self, measured: float, bound: float) -> bool:
        return measured <= bound if self.at_most else measured >= bound


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
        requirements: of systems that live in a virtual environment of their own: what it has.
        once: phases that are run in the first round only, for they take long.
        alone: figures that Stem alone has.
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
    requirements: Mapping[str, str] = field(default_factory=dict)
    once: Sequence[str] = ()
    gates: Sequence[Gate] = ()
    alone: Mapping[str, str] = field(default_factory=dict)
    notes: str = ""
    module: Mapping[str, str] = field(default_factory=dict)
    help: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def command(self, system: str) -> Sequence[str]:
        """Return the script of *system* and its last arguments."""
        return self.commands[system]

    def calls(self, count: int) -> str:
        """Say how many calls the systems make."""
        shares = {
            system: dict(self.phases_of(system)).get("throughput", 1) for system in self.systems
        }
        if len(set(shares.values())) == 1:
            return f"{count:,} calls"
        each = ", ".join(f"{system} {int(count * share):,}" for system, share in shares.items())
        return f"so many calls: {each};"

    def phases_of(self, system: str) -> Iterator[tuple[str, float]]:
        """Yield the phases of *system* and how many calls each makes."""
        yield from (self.phases.get(system) or self.phases[""]).items()


MEMORY = Suite(
    name="memory",
    title="memory brokers",
    page="RESULTS-MEMORY.md",
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
        "result and ack in one transaction; many processes; 100 slots, and as many deliveries "
        "taken ahead (`STEM_PREFETCH_MULTIPLIER=2`)",
        "stem normal": "`durability=normal`: survives the death of any process, not a power cut",
        "huey": "synced; pickle; gone when popped, so a worker that dies loses its task",
        "huey nosync": "the same with `fsync=False`: a power cut may damage the file",
        LIMIT: "sqlite3 alone, synced: one narrow table; one insert a transaction, 500 in one, "
        "and delete of 100 returning them",
    },
)

_PEERS = ("celery", "dramatiq", "taskiq", "arq", "streaq", "saq", "rq", "huey")

REDIS = Suite(
    name="redis",
    title="Redis",
    page="RESULTS.md",
    systems=("stem", *_PEERS),
    peers=_PEERS,
    commands={name: ("redis_bench.py", name) for name in ("stem", *_PEERS, LIMIT)},
    requirements={name: f"peers/{name}.txt" for name in _PEERS},
    phases={
        "stem": {
            "throughput": 2,
            "latency": 200,
            "backlog": 200_000,
            "full": 4_000,
            "idle": 1e6,
            "due": 20_000,
            "late": 200,
        },
        "celery": {"throughput": 0.2, "latency": 200},
        "dramatiq": {"throughput": 0.5, "latency": 100},
        "taskiq": {"throughput": 0.3, "latency": 200},
        "arq": {"throughput": 0.2, "latency": 200},
        "streaq": {"throughput": 0.3, "latency": 200},
        "saq": {"throughput": 0.2, "latency": 200},
        "rq": {"throughput": 0.1, "latency": 200},
        "huey": {"throughput": 0.5, "latency": 200},
        LIMIT: {"throughput": 5, "latency": 200},
    },
    once=("idle", "full", "late"),
    throughput={
        "enqueue_per_s": "enqueue, one at a time",
        "enqueue_many_per_s": "10,000 in one call",
        "drain_per_s": "drain, without results",
        "drain_results_per_s": "drain, with results",
    },
    others={
        "latency_p50_ms": "idle latency, median, ms",
        "latency_p99_ms": "the same, 99th percentile, ms",
        "drain_cpu_us": "CPU of the worker for a task, µs",
        "drain_results_cpu_us": "the same with results, µs",
    },
    others_title="Latency between two processes, and what a task costs the worker",
    compared_with={"enqueue_many_per_s": "enqueue_per_s"},
    gates=(
        Gate(
            title="enqueue ≥ 1 × the best peer",
            figure="enqueue_per_s",
            bound=1.0,
            aim=1.2,
            over="peers",
        ),
        Gate(title="bulk ≥ 5 ×", figure="enqueue_many_per_s", bound=5.0, aim=6, over="peers"),
        Gate(title="drain ≥ 5 ×", figure="drain_per_s", bound=5.0, aim=10, over="peers"),
        Gate(
            title="drain with results ≥ 5 ×",
            figure="drain_results_per_s",
            bound=5.0,
            aim=12,
            over="peers",
        ),
        Gate(
            title="idle latency, median ≤ 1.2 ×",
            figure="latency_p50_ms",
            bound=1.2,
            aim=1.0,
            over="peers",
            at_most=True,
        ),
        Gate(title="CPU for a task ≤ 40 µs", figure="drain_cpu_us", bound=40, aim=20, at_most=True),
        Gate(
            title="200,000 waiting ≥ 0.8 × the rate of 20,000",
            figure="drain_backlog_per_s",
            bound=0.8,
            over="drain_small_per_s",
        ),
        Gate(
            title="idle beside a million delayed ≤ 2 commands a second",
            figure="idle_commands_per_s",
            bound=2.0,
            at_most=True,
        ),
        Gate(title="left unsettled at a full server: 0", figure="full_left", bound=0, at_most=True),
        Gate(
            title="20,000 due at one moment done in about a second",
            figure="due_at_once_s",
            bound=1.0,
            at_most=True,
        ),
        Gate(
            title="delayed work on an idle queue late by < 50 ms, 99th percentile",
            figure="late_p99_ms",
            bound=50,
            at_most=True,
        ),
    ),
    alone={
        "drain_small_per_s": "drain of 20,000, per second",
        "drain_backlog_per_s": "drain of 200,000, per second",
        "idle_commands_per_s": "commands a second of an idle worker, a million delayed",
        "bytes_per_delayed": "bytes at the server for a delayed task",
        "full_accepted": "accepted until `maxmemory` was reached, and then settled with results",
        "due_at_once_s": "20,000 tasks due at one moment, until all are settled, seconds after it",
        "late_p50_ms": "a delayed task on an idle queue, ms after its time, median",
        "late_p99_ms": "the same, 99th percentile",
    },
    guarantees={
        "stem": "strict JSON, arguments checked; lease with a fence, renewed; acknowledged after "
        "the run, with its result in the same step; retries, time limits; one worker of "
        "concurrency 1,000 on asyncio's own loop",
        "celery": "`solo` pool, prefetch 128, no gossip, mingle or heartbeat; acknowledged before "
        "the run (its default): a worker that dies loses what it took; results apart; no fence",
        "dramatiq": "two threads, `dramatiq_queue_prefetch=512`; acknowledged after the run, "
        "heartbeats; results apart; no fence",
        "taskiq": "stream broker, uvloop, 100 tasks at once, arguments not validated; acknowledged "
        "after the run, back after 10 minutes; results apart; no fence",
        "arq": "uvloop, 100 jobs at once, polled every 10 ms (its default is 500); ends by id "
        "after the run; `keep_result=0` where there is no result; no fence; pickle",
        "streaq": "uvloop, concurrency 100; acknowledged with the result in one step; no fence; "
        "pickle",
        "saq": "uvloop, concurrency 10 (its default); removed after the run, aborted and not run "
        "again by default when its worker dies; results in the job (`ttl=-1` for none); no fence",
        "rq": "`SimpleWorker`, no fork; removed after the run, failed and not run again when its "
        "worker dies; `result_ttl=0` for none; no fence; pickle",
        "huey": "blocking pop, one thread; gone when popped, so a worker that dies loses its task; "
        "pickle",
        LIMIT: "no promise at all: hiredis on a socket, a list; 500 in a call, 200 taken by a "
        "script, results 200 in a call",
    },
    notes="""## What limits

- **One at a time**: a call is one script and its reply, waited for in place. huey sends a plain
  `LPUSH` over a blocking socket; the script of Stem looks for the id and for sleepers, takes a
  turn, and writes message and order.
- **In bulk**: about as much the producer as the server, which go on at once where two cores are
  free: the messages of a piece are made and packed while the server is at the piece before.
- **Drain**: the worker's processor, which rests for one to five hundredths of the time: the server
  looks for the next tasks and settles the last while these run. Of what a task costs a worker
  about a ninth is decoding its envelope strictly; nothing else stands out.
- **Between this and the aims** of 10 and 12 times the best drain, and of half the CPU, stands that
  Python: a task, its context and a record, each made and checked once. Not far behind it is the
  server, whose one thread needs about 30 µs for a lease and an end: a hash read and written, two
  sorted sets and a fence checked, and the same once more with a stone that remembers it.
- **Idle latency**: one trip, as a blocking pop has: the look of a worker without a task stands at
  the server already. What is left is the path of a call through Python, and two scripts.
- **200,000 waiting**: memory that the server touches for the first time in a while, and a
  longer sorted set. A server that was built without jemalloc, as the Valkey that pip brings,
  pays more for that: 0.77 in five rounds of the same day.
- A peer without a call for many is compared by its calls one at a time.""",
)

_ON_POSTGRES = ("pgqueuer", "pgqueuer default", "procrastinate", "saq")

POSTGRES = Suite(
    name="postgres",
    title="PostgreSQL",
    page="RESULTS-POSTGRES.md",
    systems=("stem", *_ON_POSTGRES),
    peers=_ON_POSTGRES,
    commands={
        name: ("pg_bench.py", name.replace(" ", "_")) for name in ("stem", *_ON_POSTGRES, LIMIT)
    },
    requirements={
        "pgqueuer": "peers/pgqueuer.txt",
        "pgqueuer default": "peers/pgqueuer.txt",
        "procrastinate": "peers/procrastinate.txt",
        "saq": "peers/saq-postgres.txt",
    },
    phases={
        "stem": {"throughput": 1, "latency": 200, "backlog": 200_000, "crowd": 6_400, "claim": 1e6},
        "pgqueuer": {"throughput": 1, "latency": 200},
        "pgqueuer default": {"throughput": 0.5, "latency": 200},
        "procrastinate": {"throughput": 0.15, "latency": 200},
        "saq": {"throughput": 0.15, "latency": 200},
        LIMIT: {"throughput": 2, "latency": 200},
    },
    once=("crowd", "claim"),
    throughput={
        "enqueue_per_s": "enqueue, one at a time",
        "enqueue_many_per_s": "in bulk",
        "drain_per_s": "drain, without results",
        "drain_results_per_s": "drain, with results",
    },
    others={
        "latency_p50_ms": "idle latency, median, ms",
        "latency_p99_ms": "the same, 99th percentile, ms",
        "drain_cpu_us": "CPU of the worker for a task, µs",
        "drain_results_cpu_us": "the same with results, µs",
        "wal_bytes": "bytes of write-ahead log for a task, in bulk and drained",
        "wal_results_bytes": "the same with its result",
        "wal_enqueue_bytes": "the same for one enqueued alone",
    },
    others_title="Latency between two processes, and what a task costs",
    compared_with={"enqueue_many_per_s": "enqueue_per_s"},
    gates=(
        Gate(
            title="enqueue ≥ 1.2 × the best peer",
            figure="enqueue_per_s",
            bound=1.2,
            aim=1.3,
            over="peers",
        ),
        Gate(title="bulk ≥ 1 ×", figure="enqueue_many_per_s", bound=1.0, aim=1.5, over="peers"),
        Gate(
            title="drain with results ≥ 1.5 × pgqueuer's",
            figure="drain_results_per_s",
            bound=1.5,
            aim=2,
            over="pgqueuer",
        ),
        Gate(
            title="drain with results ≥ 15 × procrastinate's",
            figure="drain_results_per_s",
            bound=15,
            over="procrastinate",
        ),
        Gate(
            title="idle latency, median ≤ 0.8 × the best",
            figure="latency_p50_ms",
            bound=0.8,
            aim=0.6,
            over="peers",
            at_most=True,
        ),
        Gate(
            title="a claim with a million waiting ≤ 1.5 × that with 10,000",
            figure="claim_many_ms",
            bound=1.5,
            over="claim_few_ms",
            at_most=True,
        ),
        Gate(
            title="64 that enqueue at once, notifications on ≥ 0.5 × off",
            figure="crowd_told_per_s",
            bound=0.5,
            over="crowd_untold_per_s",
        ),
        Gate(
            title="64 transactions that enqueue at once, notifications on ≥ 0.5 × off",
            figure="crowd_in_told_per_s",
            bound=0.5,
            over="crowd_in_untold_per_s",
        ),
        Gate(
            title="write-ahead log for a task ≤ 0.5 × pgqueuer's",
            figure="wal_bytes",
            bound=0.5,
            over="pgqueuer",
            at_most=True,
        ),
    ),
    alone={
        "drain_small_per_s": "drain of 20,000, per second",
        "drain_backlog_per_s": "drain of 200,000, per second",
        "claim_few_ms": "a claim of 50 while 10,000 wait, ms",
        "claim_many_ms": "a claim of 50 while a million wait, ms",
        "crowd_told_per_s": "64 that enqueue at once while two workers wait, per second",
        "crowd_untold_per_s": "the same with `notify=off`, so that both workers poll",
        "crowd_in_told_per_s": "64 transactions of the caller's at once, the workers told",
        "crowd_in_untold_per_s": "the same with `notify=off`",
        "crowd_heard": "notifications that were sent for all of them",
    },
    guarantees={
        "stem": "strict JSON, arguments checked; lease with a fence, renewed; acknowledged after "
        "the run, with its result in the same statement; retries, time limits; one worker of "
        "concurrency 1,000 on asyncio's own loop",
        "pgqueuer": "asyncpg, uvloop, a pool of 5, `batch_size=500`, every table logged; bytes as "
        "they are given; logged after the run, apart, up to 0.1 s later; no fence; keeps no "
        "results, so its two drains do the same",
        "pgqueuer default": "the same with `batch_size=10`",
        "procrastinate": 'psycopg, uvloop, concurrency 20, `delete_jobs="successful"`; a dead '
        "worker's jobs stay until somebody asks for them; no fence; keeps no results, so its two "
        "drains do the same",
        "saq": "psycopg, uvloop, concurrency 50; no call for many; results in the job (`ttl=-1` "
        "for none); aborted and not run again by default when its worker dies; no fence",
        LIMIT: "no promise at all: psycopg on a blocking connection, a table of a number and a "
        "body; 500 in a call, deleted 500 at a time, results in the same statement",
    },
    notes="""## What stands behind the server

One fresh server a phase, `fsync`, `synchronous_commit` and `full_page_writes` on, `shared_buffers`
256 MB, no checkpoint while something is timed. Before the claims are, what they look through is
filled in, and then `VACUUM ANALYZE` and `CHECKPOINT` let the server finish with that: the figure is
of a table that autovacuum has seen. The claims and the 64 that enqueue at once are measured in one
round, and not in five. What is asked of the write-ahead log is about tasks in bulk and without
results; what one with its result takes, and one enqueued alone, stands beside it.

A peer without a call for many is compared by its calls one at a time; one that keeps no results by
its drain all the same.""",
)

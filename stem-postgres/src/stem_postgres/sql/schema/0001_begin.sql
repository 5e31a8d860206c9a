-- Version 1: the tables of Stem in one schema.
--
-- These files say `stem.` for the schema; another one is put in its place when they are run.
-- Columns that end in _ms hold whole milliseconds: instants count from the Unix epoch by the
-- clock of this server. `ns` is the number of a namespace.

-- One row: which of these files have been run.
CREATE TABLE stem.version (
    one     boolean PRIMARY KEY DEFAULT true CHECK (one),
    version integer NOT NULL
);
INSERT INTO stem.version (version) VALUES (0);

CREATE TABLE stem.namespace (
    ns      integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name    text COLLATE "C" NOT NULL UNIQUE,
    channel text NOT NULL                          -- where its wakes are told
);

-- Numbers that only grow: turns of messages, fences of locks.
CREATE SEQUENCE stem.turn AS bigint;

-- Live work, and nothing else. place: 0 waits or is ready, 1 the same but shown as parked,
-- 2 leased. Which of `ready` and `delayed` a message is follows from ready_ms alone.
--
-- No index knows of a lease before it is extended for the first time, and what a lease changes
-- comes last in the row: with room on its page a claim writes that, and nothing else.
CREATE TABLE stem.message (
    ns            integer  NOT NULL,
    rank          smallint NOT NULL,               -- 9 - priority: served upwards
    unique_kind   smallint NOT NULL DEFAULT 0,     -- freed by 1 its end, 2 its first lease, 3 time
    ready_ms      bigint   NOT NULL,               -- since when, or from when on, it can be taken
    ticket        bigint   NOT NULL,               -- its turn among those of one instant
    base          bigint   NOT NULL,               -- what its first lease was counted from
    lease_ms      bigint   NOT NULL,
    dedupe_ms     bigint   NOT NULL,
    digest        bigint   NOT NULL,               -- of the body, which outlives it
    window_ms     bigint,
    held_ms       bigint,                          -- the end of a lease that was extended
    id            text COLLATE "C" NOT NULL,
    queue         text COLLATE "C" NOT NULL,
    task          text NOT NULL,
    unique_key    text COLLATE "C",
    more          bytea,                           -- what else was published, as JSON
    body          bytea NOT NULL,
    fence         bigint   NOT NULL,               -- of its last lease
    failed        integer  NOT NULL DEFAULT 0,     -- attempts that failed
    lapses        integer  NOT NULL DEFAULT 0,
    releases      integer  NOT NULL DEFAULT 0,
    place         smallint NOT NULL DEFAULT 0,
    until_ms      bigint,                          -- the end of its lease
    settled       bigint,                          -- the last fence that was settled, if one was
    parked_ms     bigint,                          -- since when it has been parked without a run
    worker        text,
    cancel_reason text,                            -- NULL while nobody asked to cancel it
    errors        bytea[],                         -- the last 20, as JSON
    PRIMARY KEY (ns, id)
) WITH (
    fillfactor = 45,
    -- Rows are written and removed all the time: look often, and do it at full speed.
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_threshold = 2000,
    autovacuum_vacuum_insert_scale_factor = 0.2,
    autovacuum_analyze_scale_factor = 0.2,
    autovacuum_vacuum_cost_delay = 0
);
CREATE INDEX message_ready ON stem.message (ns, queue, rank, ready_ms, ticket)
    WHERE held_ms IS NULL;
CREATE INDEX message_held ON stem.message (ns, queue, held_ms) WHERE held_ms IS NOT NULL;

-- Messages that have died, whole.
CREATE TABLE stem.dead (
    LIKE stem.message INCLUDING DEFAULTS,
    reason     text   NOT NULL,
    died_at_ms bigint NOT NULL,
    keep_ms    bigint NOT NULL,                    -- until when it is kept
    PRIMARY KEY (ns, id)
);
CREATE INDEX dead_latest ON stem.dead (ns, ticket);
CREATE INDEX dead_over ON stem.dead (ns, keep_ms);

-- Ids of messages that have ended, for as long as they asked to be known.
CREATE TABLE stem.ended (
    keep_ms bigint  NOT NULL,
    fence   bigint  NOT NULL,
    digest  bigint  NOT NULL,
    settled bigint,                                -- the last that was settled; NULL: this fence
    ns      integer NOT NULL,
    id      text COLLATE "C" NOT NULL,
    PRIMARY KEY (ns, id)
) WITH (
    autovacuum_vacuum_scale_factor = 0.1,
    autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_cost_delay = 0
);
CREATE INDEX ended_over ON stem.ended (ns, keep_ms);

CREATE TABLE stem.unique_key (
    ns      integer NOT NULL,
    keep_ms bigint,                                -- NULL: held until its message lets go
    key     text COLLATE "C" NOT NULL,
    id      text COLLATE "C" NOT NULL,
    PRIMARY KEY (ns, key)
);
CREATE INDEX unique_key_over ON stem.unique_key (ns, keep_ms) WHERE keep_ms IS NOT NULL;

CREATE TABLE stem.paused (
    ns    integer NOT NULL,
    queue text COLLATE "C" NOT NULL,
    PRIMARY KEY (ns, queue)
);

-- How tasks ended. The columns count where the JSON says otherwise.
CREATE TABLE stem.record (
    ns       integer NOT NULL,
    terminal boolean NOT NULL,
    reopened boolean NOT NULL DEFAULT false,       -- sent back to queued by a replay
    fence    bigint  NOT NULL,
    keep_ms  bigint  NOT NULL,
    id       text COLLATE "C" NOT NULL,
    state    text NOT NULL,
    task     text NOT NULL,
    queue    text NOT NULL,
    record   bytea NOT NULL,
    PRIMARY KEY (ns, id)
);
CREATE INDEX record_over ON stem.record (ns, keep_ms);

CREATE TABLE stem.progress (
    ns      integer NOT NULL,
    fence   bigint  NOT NULL,
    keep_ms bigint  NOT NULL,
    id      text COLLATE "C" NOT NULL,
    value   bytea NOT NULL,
    PRIMARY KEY (ns, id)
);
CREATE INDEX progress_over ON stem.progress (ns, keep_ms);

CREATE TABLE stem.heartbeat (
    ns      integer NOT NULL,
    at_ms   bigint  NOT NULL,
    ttl_ms  bigint  NOT NULL,
    keep_ms bigint  NOT NULL,
    worker  text COLLATE "C" NOT NULL,
    detail  bytea NOT NULL,
    PRIMARY KEY (ns, worker)
);

CREATE TABLE stem.schedule (
    ns      integer NOT NULL,
    version bigint  NOT NULL,
    name    text COLLATE "C" NOT NULL,
    state   bytea NOT NULL,
    PRIMARY KEY (ns, name)
);

CREATE TABLE stem.lock (
    ns      integer NOT NULL,
    fence   bigint  NOT NULL,
    keep_ms bigint  NOT NULL,
    name    text COLLATE "C" NOT NULL,
    owner   text COLLATE "C" NOT NULL,
    PRIMARY KEY (ns, name)
);

-- Control messages, kept for the few moments until every listener has looked.
CREATE TABLE stem.control (
    n         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    ns        integer NOT NULL,
    at_ms     bigint  NOT NULL,
    body      bytea NOT NULL,
    key_id    text  NOT NULL,
    algorithm text  NOT NULL,
    signature bytea NOT NULL
);
CREATE INDEX control_order ON stem.control (ns, n);

-- Each start that a rate counts, until its window is over.
CREATE TABLE stem.start (
    ns      integer NOT NULL,
    at_ms   bigint  NOT NULL,
    keep_ms bigint  NOT NULL,
    key     text COLLATE "C" NOT NULL
);
CREATE INDEX start_key ON stem.start (ns, key, at_ms);
CREATE INDEX start_over ON stem.start (ns, keep_ms);

-- Who uses a concurrent unit of which key, and until when at the latest.
CREATE TABLE stem.holder (
    ns      integer NOT NULL,
    keep_ms bigint  NOT NULL,
    key     text COLLATE "C" NOT NULL,
    holder  text COLLATE "C" NOT NULL,
    PRIMARY KEY (ns, key, holder)
);

-- Who waits for what: only then is a wake told. Lost in a crash, and then polls find the work.
CREATE UNLOGGED TABLE stem.sleeper (
    ns       integer NOT NULL,
    until_ms bigint  NOT NULL,
    queue    text COLLATE "C" NOT NULL,
    PRIMARY KEY (ns, queue)
);
CREATE UNLOGGED TABLE stem.waiter (
    ns       integer NOT NULL,
    until_ms bigint  NOT NULL,
    id       text COLLATE "C" NOT NULL,
    PRIMARY KEY (ns, id)
);

-- For people who look with SQL.
CREATE VIEW stem.tasks AS
SELECT
    n.name AS namespace, m.queue, m.task, m.id, 9 - m.rank AS priority,
    CASE
        WHEN m.place = 2 THEN 'leased'
        WHEN m.place = 1 THEN 'parked'
        WHEN m.ready_ms > extract(epoch FROM clock_timestamp()) * 1000 THEN 'delayed'
        ELSE 'ready'
    END AS place,
    m.failed, m.lapses, m.releases, m.worker,
    to_timestamp(m.ready_ms / 1000.0) AS ready_at,
    to_timestamp(m.until_ms / 1000.0) AS leased_until,
    octet_length(m.body) AS bytes
FROM stem.message m JOIN stem.namespace n USING (ns);

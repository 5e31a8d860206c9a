-- Version 1: everything that one namespace keeps in a file.
--
-- Every table begins with the name of its namespace; these files say `stem_`. Columns that
-- end in _ms hold whole milliseconds: instants of the store's own time (see store_time.py),
-- but for died_at_ms, which is wall time, for people.

-- One row: who this store is, how its time runs, and a counter that only grows.
CREATE TABLE stem_meta (
    one        INTEGER PRIMARY KEY CHECK (one = 1),
    version    INTEGER NOT NULL,
    store      TEXT    NOT NULL,            -- made once at random
    boot       TEXT    NOT NULL DEFAULT '', -- the start of the machine that offset_ms belongs to
    offset_ms  INTEGER NOT NULL DEFAULT 0,  -- store time minus monotonic time
    seen_ms    INTEGER NOT NULL DEFAULT 0,  -- the latest store time that is sure to have been
    fence_base INTEGER NOT NULL DEFAULT 0   -- above every fence of an id that is forgotten
);

-- One row for each id that is live, dead, or ended a short while ago.
--
-- place: 0 ready, 1 delayed, 2 parked, 3 leased, 4 dead, 5 ended.
-- due_ms is when time moves the row on: NULL exactly while it can be taken, else when it is
-- ready (1, 2), when its lease ends (3), when it is forgotten (4, 5). Two partial indexes
-- follow from that: one holds the order of service, the other what time will do.
CREATE TABLE stem_message (
    seq             INTEGER PRIMARY KEY,
    id              TEXT    NOT NULL UNIQUE,
    queue           TEXT    NOT NULL,
    task            TEXT    NOT NULL,
    rank            INTEGER NOT NULL,            -- 9 - priority: served upwards
    place           INTEGER NOT NULL,
    ready_ms        INTEGER NOT NULL,            -- since when it can be taken, kept while leased
    ticket          INTEGER NOT NULL,            -- its turn among those of one instant, likewise
    due_ms          INTEGER,
    fence           INTEGER NOT NULL,            -- of its last lease
    base            INTEGER NOT NULL,            -- what its first lease was counted from
    settled         INTEGER NOT NULL,            -- the last fence that was settled
    failed          INTEGER NOT NULL DEFAULT 0,  -- attempts that failed
    lapses          INTEGER NOT NULL DEFAULT 0,
    releases        INTEGER NOT NULL DEFAULT 0,
    errors          INTEGER NOT NULL DEFAULT 0,  -- how many were noted; the last 20 are kept
    first_parked_ms INTEGER,
    lease_ms        INTEGER NOT NULL,
    dedupe_ms       INTEGER NOT NULL,
    digest          INTEGER NOT NULL,            -- of the body, which an ended row has no more
    unique_key      TEXT,
    unique_until    TEXT,
    worker          TEXT,
    cancel_reason   TEXT,                        -- NULL while nobody asked to cancel it
    reason          TEXT,                        -- why it is dead
    died_at_ms      INTEGER,
    more            TEXT,                        -- what else was published, as JSON
    body            BLOB                         -- NULL when ended, or when stem_body has it
);
CREATE INDEX stem_message_ready ON stem_message (queue, rank, ready_ms, ticket, place)
    WHERE due_ms IS NULL;
CREATE INDEX stem_message_due ON stem_message (place, due_ms, queue) WHERE due_ms IS NOT NULL;
CREATE INDEX stem_message_dead ON stem_message (ticket) WHERE place = 4;

-- Large bodies lie apart: a lease or a renewal writes the row of its message anew.
CREATE TABLE stem_body (
    seq  INTEGER PRIMARY KEY,
    body BLOB NOT NULL
);

CREATE TABLE stem_error (
    seq   INTEGER NOT NULL,
    n     INTEGER NOT NULL,
    error TEXT    NOT NULL,
    PRIMARY KEY (seq, n)
) WITHOUT ROWID;

CREATE TABLE stem_unique (
    key      TEXT PRIMARY KEY,
    id       TEXT NOT NULL,
    until_ms INTEGER                        -- NULL: held until its message lets go
) WITHOUT ROWID;
CREATE INDEX stem_unique_until ON stem_unique (until_ms) WHERE until_ms IS NOT NULL;

CREATE TABLE stem_paused (
    queue TEXT PRIMARY KEY
) WITHOUT ROWID;

CREATE TABLE stem_record (
    id     TEXT PRIMARY KEY,
    state  TEXT    NOT NULL,
    fence  INTEGER NOT NULL,
    task   TEXT    NOT NULL,
    queue  TEXT    NOT NULL,
    due_ms INTEGER NOT NULL,                -- when it is forgotten
    record BLOB    NOT NULL                 -- the whole of it, as JSON
) WITHOUT ROWID;
CREATE INDEX stem_record_due ON stem_record (due_ms);

CREATE TABLE stem_progress (
    id     TEXT PRIMARY KEY,
    fence  INTEGER NOT NULL,
    due_ms INTEGER NOT NULL,
    value  BLOB    NOT NULL
) WITHOUT ROWID;
CREATE INDEX stem_progress_due ON stem_progress (due_ms);

CREATE TABLE stem_heartbeat (
    worker TEXT PRIMARY KEY,
    at_ms  INTEGER NOT NULL,
    detail BLOB    NOT NULL,
    ttl_ms INTEGER NOT NULL,
    due_ms INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE stem_schedule (
    name    TEXT PRIMARY KEY,
    version INTEGER NOT NULL,
    state   BLOB    NOT NULL
) WITHOUT ROWID;

CREATE TABLE stem_lock (
    name   TEXT PRIMARY KEY,
    owner  TEXT    NOT NULL,
    fence  INTEGER NOT NULL,
    due_ms INTEGER NOT NULL
) WITHOUT ROWID;

-- Control messages, kept for the few moments until every process has looked.
CREATE TABLE stem_control (
    n         INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ms     INTEGER NOT NULL,
    body      BLOB NOT NULL,
    key_id    TEXT NOT NULL,
    algorithm TEXT NOT NULL,
    signature BLOB NOT NULL
);

-- Each start that a rate counts, until its window is over.
CREATE TABLE stem_start (
    n      INTEGER PRIMARY KEY,
    key    TEXT    NOT NULL,
    at_ms  INTEGER NOT NULL,
    due_ms INTEGER NOT NULL
);
CREATE INDEX stem_start_key ON stem_start (key, at_ms);
CREATE INDEX stem_start_due ON stem_start (due_ms);

-- Who uses a concurrent unit of which key, and until when at the latest.
CREATE TABLE stem_holder (
    key    TEXT    NOT NULL,
    holder TEXT    NOT NULL,
    due_ms INTEGER NOT NULL,
    PRIMARY KEY (key, holder)
) WITHOUT ROWID;

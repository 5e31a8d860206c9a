BEGIN;
CREATE SCHEMA IF NOT EXISTS "stem_golden";

-- Version 1: the tables of Stem in one schema.
--
-- These files say `stem.` for the schema; another one is put in its place when they are run.
-- Columns that end in _ms hold whole milliseconds: instants count from the Unix epoch by the
-- clock of this server. `ns` is the number of a namespace.

-- One row: which of these files have been run.
CREATE TABLE "stem_golden".version (
    one     boolean PRIMARY KEY DEFAULT true CHECK (one),
    version integer NOT NULL
);
INSERT INTO "stem_golden".version (version) VALUES (0);

CREATE TABLE "stem_golden".namespace (
    ns      integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name    text COLLATE "C" NOT NULL UNIQUE,
    channel text NOT NULL                          -- where its wakes are told
);

-- Numbers that only grow: turns of messages, fences of locks.
CREATE SEQUENCE "stem_golden".turn AS bigint;

-- Live work, and nothing else. place: 0 waits or is ready, 1 the same but shown as parked,
-- 2 leased. Which of `ready` and `delayed` a message is follows from ready_ms alone.
--
-- No index knows of a lease before it is extended for the first time, and what a lease changes
-- comes last in the row: with room on its page a claim writes that, and nothing else.
CREATE TABLE "stem_golden".message (
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
CREATE INDEX message_ready ON "stem_golden".message (ns, queue, rank, ready_ms, ticket)
    WHERE held_ms IS NULL;
CREATE INDEX message_held ON "stem_golden".message (ns, queue, held_ms) WHERE held_ms IS NOT NULL;

-- Messages that have died, whole.
CREATE TABLE "stem_golden".dead (
    LIKE "stem_golden".message INCLUDING DEFAULTS,
    reason     text   NOT NULL,
    died_at_ms bigint NOT NULL,
    keep_ms    bigint NOT NULL,                    -- until when it is kept
    PRIMARY KEY (ns, id)
);
CREATE INDEX dead_latest ON "stem_golden".dead (ns, ticket);
CREATE INDEX dead_over ON "stem_golden".dead (ns, keep_ms);

-- Ids of messages that have ended, for as long as they asked to be known.
CREATE TABLE "stem_golden".ended (
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
CREATE INDEX ended_over ON "stem_golden".ended (ns, keep_ms);

CREATE TABLE "stem_golden".unique_key (
    ns      integer NOT NULL,
    keep_ms bigint,                                -- NULL: held until its message lets go
    key     text COLLATE "C" NOT NULL,
    id      text COLLATE "C" NOT NULL,
    PRIMARY KEY (ns, key)
);
CREATE INDEX unique_key_over ON "stem_golden".unique_key (ns, keep_ms) WHERE keep_ms IS NOT NULL;

CREATE TABLE "stem_golden".paused (
    ns    integer NOT NULL,
    queue text COLLATE "C" NOT NULL,
    PRIMARY KEY (ns, queue)
);

-- How tasks ended. The columns count where the JSON says otherwise.
CREATE TABLE "stem_golden".record (
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
CREATE INDEX record_over ON "stem_golden".record (ns, keep_ms);

CREATE TABLE "stem_golden".progress (
    ns      integer NOT NULL,
    fence   bigint  NOT NULL,
    keep_ms bigint  NOT NULL,
    id      text COLLATE "C" NOT NULL,
    value   bytea NOT NULL,
    PRIMARY KEY (ns, id)
);
CREATE INDEX progress_over ON "stem_golden".progress (ns, keep_ms);

CREATE TABLE "stem_golden".heartbeat (
    ns      integer NOT NULL,
    at_ms   bigint  NOT NULL,
    ttl_ms  bigint  NOT NULL,
    keep_ms bigint  NOT NULL,
    worker  text COLLATE "C" NOT NULL,
    detail  bytea NOT NULL,
    PRIMARY KEY (ns, worker)
);

CREATE TABLE "stem_golden".schedule (
    ns      integer NOT NULL,
    version bigint  NOT NULL,
    name    text COLLATE "C" NOT NULL,
    state   bytea NOT NULL,
    PRIMARY KEY (ns, name)
);

-- A lock that was given back keeps its row: the fence of the next owner is higher.
CREATE TABLE "stem_golden".lock (
    ns      integer NOT NULL,
    fence   bigint  NOT NULL,
    keep_ms bigint  NOT NULL,
    name    text COLLATE "C" NOT NULL,
    owner   text COLLATE "C" NOT NULL,
    PRIMARY KEY (ns, name)
);

-- Control messages, kept for the few moments until every listener has looked.
CREATE TABLE "stem_golden".control (
    n         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    ns        integer NOT NULL,
    at_ms     bigint  NOT NULL,
    body      bytea NOT NULL,
    key_id    text  NOT NULL,
    algorithm text  NOT NULL,
    signature bytea NOT NULL
);
CREATE INDEX control_order ON "stem_golden".control (ns, n);

-- Each start that a rate counts, until its window is over.
CREATE TABLE "stem_golden".start (
    ns      integer NOT NULL,
    at_ms   bigint  NOT NULL,
    keep_ms bigint  NOT NULL,
    key     text COLLATE "C" NOT NULL
);
CREATE INDEX start_key ON "stem_golden".start (ns, key, at_ms);
CREATE INDEX start_over ON "stem_golden".start (ns, keep_ms);

-- Who uses a concurrent unit of which key, and until when at the latest.
CREATE TABLE "stem_golden".holder (
    ns      integer NOT NULL,
    keep_ms bigint  NOT NULL,
    key     text COLLATE "C" NOT NULL,
    holder  text COLLATE "C" NOT NULL,
    PRIMARY KEY (ns, key, holder)
);

-- Who waits for what: only then is a wake told. Lost in a crash, and then polls find the work.
CREATE UNLOGGED TABLE "stem_golden".sleeper (
    ns       integer NOT NULL,
    until_ms bigint  NOT NULL,
    queue    text COLLATE "C" NOT NULL,
    PRIMARY KEY (ns, queue)
);
CREATE UNLOGGED TABLE "stem_golden".waiter (
    ns       integer NOT NULL,
    until_ms bigint  NOT NULL,
    id       text COLLATE "C" NOT NULL,
    PRIMARY KEY (ns, id)
);

-- For people who look with SQL.
CREATE VIEW "stem_golden".tasks AS
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
FROM "stem_golden".message m JOIN "stem_golden".namespace n USING (ns);

-- What the clock of this server says, in milliseconds; or what a test says instead.
--
-- Not now(), which stands still within a transaction.
CREATE OR REPLACE FUNCTION "stem_golden".now_ms(p_now bigint) RETURNS bigint
LANGUAGE sql VOLATILE PARALLEL RESTRICTED AS $$
    SELECT coalesce(p_now, floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint)
$$;

-- Telling whoever waits. A notification takes a lock that all commits of the database share, so
-- nobody is told unless somebody waits; who was told takes the note away, and who looks again and
-- finds nothing leaves a new one.

-- p_ns, p_queue, p_at: work of this queue can be taken at p_at. With p_always it is told unseen:
-- a transaction of the caller may commit long after this look.
CREATE OR REPLACE FUNCTION "stem_golden".rouse(
    p_ns integer, p_queue text, p_at bigint, p_always boolean DEFAULT false
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF NOT p_always THEN
        -- Of many that see the note at once one takes it, and he alone tells.
        DELETE FROM "stem_golden".sleeper s WHERE s.ns = p_ns AND s.queue IN (
            SELECT d.queue FROM "stem_golden".sleeper d
            WHERE d.ns = p_ns AND d.queue = p_queue AND d.until_ms > p_at
            FOR UPDATE SKIP LOCKED
        );
        IF NOT FOUND THEN
            RETURN;
        END IF;
    END IF;
    PERFORM pg_notify(n.channel, 'q' || md5(p_queue)) FROM "stem_golden".namespace n WHERE n.ns = p_ns;
END
$$;

-- p_ns, p_ids: these tasks have ended.
CREATE OR REPLACE FUNCTION "stem_golden".tell_ended(
    p_ns integer, p_ids text[], p_always boolean DEFAULT false
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_ids text[] := p_ids;
BEGIN
    IF NOT p_always THEN
        IF NOT EXISTS (SELECT FROM "stem_golden".waiter w WHERE w.ns = p_ns) THEN
            RETURN;
        END IF;
        SELECT array_agg(w.id) INTO v_ids FROM "stem_golden".waiter w WHERE w.ns = p_ns AND w.id = ANY (p_ids);
        IF v_ids IS NULL THEN
            RETURN;
        END IF;
        DELETE FROM "stem_golden".waiter w WHERE w.ns = p_ns AND w.id IN (
            SELECT d.id FROM "stem_golden".waiter d WHERE d.ns = p_ns AND d.id = ANY (v_ids)
            FOR UPDATE SKIP LOCKED
        );
    END IF;
    PERFORM pg_notify(n.channel, 'r' || md5(i.id))
    FROM "stem_golden".namespace n, unnest(v_ids) AS i (id) WHERE n.ns = p_ns;
END
$$;

-- Accepting one message, or saying why not. Written first and looked at afterwards: who publishes
-- the same id at the same moment waits for this one, and then sees it.
--
-- p_wait is a duration; p_at an instant, or 0 for none. Both in milliseconds.
-- returns  0 created, 1 duplicate, 3 conflict; or 2 unique, and behind that digit the holder

-- What was a message of this id and is remembered: its digest, or nothing.
CREATE OR REPLACE FUNCTION "stem_golden".past_digest(p_ns integer, p_now bigint, p_id text) RETURNS bigint
LANGUAGE plpgsql STABLE SET enable_seqscan = off AS $$
BEGIN
    RETURN (
        SELECT e.digest FROM "stem_golden".ended e WHERE e.ns = p_ns AND e.id = p_id AND e.keep_ms > p_now
        UNION ALL
        SELECT d.digest FROM "stem_golden".dead d WHERE d.ns = p_ns AND d.id = p_id AND d.keep_ms > p_now
        LIMIT 1
    );
END
$$;

-- Take a unique key; NULL when it is taken, else who holds it.
CREATE OR REPLACE FUNCTION "stem_golden".claim(
    p_ns integer, p_now bigint, p_key text, p_id text, p_keep bigint
) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    v_holder text;
BEGIN
    LOOP
        INSERT INTO "stem_golden".unique_key AS u (ns, keep_ms, key, id) VALUES (p_ns, p_keep, p_key, p_id)
        ON CONFLICT (ns, key) DO UPDATE SET keep_ms = excluded.keep_ms, id = excluded.id
        WHERE u.keep_ms <= p_now;
        IF FOUND THEN
            RETURN NULL;
        END IF;
        SELECT u.id INTO v_holder FROM "stem_golden".unique_key u
        WHERE u.ns = p_ns AND u.key = p_key AND (u.keep_ms IS NULL OR u.keep_ms > p_now);
        IF FOUND THEN
            RETURN v_holder;
        END IF;
    END LOOP;  -- it was freed in between
END
$$;

CREATE OR REPLACE FUNCTION "stem_golden".admit(
    p_ns integer, p_now bigint, p_id text, p_queue text, p_task text, p_rank smallint,
    p_lease bigint, p_dedupe bigint, p_digest bigint, p_wait bigint, p_at bigint, p_kind smallint,
    p_key text, p_window bigint, p_more bytea, p_body bytea, p_always boolean
) RETURNS text LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off AS $$
DECLARE
    v_ticket bigint;
    v_known bigint;
    v_ended bigint;  -- until when it is kept
    v_dead bigint;
    v_is_awaited boolean;
    v_holder text;
    v_ready bigint := greatest(p_now, CASE WHEN p_at > 0 THEN p_at ELSE p_now + p_wait END);
BEGIN
    LOOP
        v_ticket := nextval('"stem_golden".turn');
        INSERT INTO "stem_golden".message (
            ns, rank, unique_kind, ready_ms, ticket, fence, base, lease_ms, dedupe_ms, digest,
            window_ms, id, queue, task, unique_key, more, body
        ) VALUES (
            p_ns, p_rank, p_kind, v_ready, v_ticket, v_ticket << 16, v_ticket << 16, p_lease,
            p_dedupe, p_digest, CASE WHEN p_kind = 3 THEN p_window END, p_id, p_queue, p_task,
            CASE WHEN p_kind > 0 THEN p_key END, nullif(p_more, ''), p_body
        ) ON CONFLICT (ns, id) DO NOTHING;
        IF FOUND THEN
            EXIT;
        END IF;
        SELECT m.digest INTO v_known FROM "stem_golden".message m WHERE m.ns = p_ns AND m.id = p_id;
        IF FOUND THEN
            RETURN CASE WHEN v_known = p_digest THEN '1' ELSE '3' END;
        END IF;
    END LOOP;  -- it ended in between

    SELECT e.keep_ms, d.keep_ms, coalesce(e.digest, d.digest), s.queue IS NOT NULL
    INTO v_ended, v_dead, v_known, v_is_awaited
    FROM (SELECT) AS one
    LEFT JOIN "stem_golden".ended e ON e.ns = p_ns AND e.id = p_id
    LEFT JOIN "stem_golden".dead d ON d.ns = p_ns AND d.id = p_id
    LEFT JOIN "stem_golden".sleeper s ON s.ns = p_ns AND s.queue = p_queue AND s.until_ms > v_ready;
    IF greatest(v_ended, v_dead) > p_now THEN
        DELETE FROM "stem_golden".message m WHERE m.ns = p_ns AND m.id = p_id;
        RETURN CASE WHEN v_known = p_digest THEN '1' ELSE '3' END;
    ELSIF v_known IS NOT NULL THEN
        -- An id that lives is in no other table: who ends it need not look.
        DELETE FROM "stem_golden".ended e WHERE e.ns = p_ns AND e.id = p_id;
        DELETE FROM "stem_golden".dead d WHERE d.ns = p_ns AND d.id = p_id;
    END IF;

    IF p_kind > 0 THEN
        v_holder := "stem_golden".claim(
            p_ns, p_now, p_key, p_id, CASE WHEN p_kind = 3 THEN p_now + p_window END
        );
        IF v_holder IS NOT NULL THEN
            DELETE FROM "stem_golden".message m WHERE m.ns = p_ns AND m.id = p_id;
            RETURN '2' || v_holder;
        END IF;
    END IF;
    IF p_always OR v_is_awaited THEN
        PERFORM "stem_golden".rouse(p_ns, p_queue, v_ready, p_always);
    END IF;
    RETURN '0';
END
$$;

-- Broker.cancel: what waits ends with its record, what runs is marked.
--
-- p_waiting  leave alone what runs: for a purge
-- returns    for each its place in the call (from 1), 0 cancelled, 1 requested, 2 finished,
--            3 unknown; and with 0 the message and its fence
CREATE OR REPLACE FUNCTION "stem_golden".cancel(
    p_ns integer, p_now bigint, p_waiting boolean, p_id text[], p_reason text[],
    p_record boolean[], r_terminal boolean[], r_state text[], r_task text[], r_queue text[],
    r_keep bigint[], r_record bytea[]
) RETURNS TABLE (
    n integer, status integer, fence bigint, id text, queue text, task text, rank smallint,
    lease_ms bigint, dedupe_ms bigint, more bytea, body bytea
) LANGUAGE plpgsql
-- Who holds a row this long is its own handler, in a transaction that is about to end it.
SET lock_timeout = '1s' SET enable_seqscan = off SET jit = off
SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
    v_now bigint := "stem_golden".now_ms(p_now);
    v_message "stem_golden".message;
BEGIN
    FOR n IN 1 .. cardinality(p_id) LOOP
        fence := NULL; id := NULL; queue := NULL; task := NULL; rank := NULL;
        lease_ms := NULL; dedupe_ms := NULL; more := NULL; body := NULL;
        v_message := NULL;
        BEGIN
            SELECT m.* INTO v_message FROM "stem_golden".message m
            WHERE m.ns = p_ns AND m.id = p_id[n] FOR UPDATE;
        EXCEPTION WHEN lock_not_available THEN
            status := 1;
            RETURN NEXT;
            CONTINUE;
        END;
        IF v_message.id IS NULL THEN
            status := CASE WHEN "stem_golden".past_digest(p_ns, v_now, p_id[n]) IS NULL THEN 3 ELSE 2 END;
        ELSIF v_message.place = 2 THEN
            status := 1;
            IF NOT p_waiting THEN
                UPDATE "stem_golden".message m SET cancel_reason = p_reason[n]
                WHERE m.ns = p_ns AND m.id = p_id[n];
            END IF;
        ELSE
            status := 0;
            fence := v_message.fence; id := v_message.id; queue := v_message.queue;
            task := v_message.task; rank := v_message.rank; lease_ms := v_message.lease_ms;
            dedupe_ms := v_message.dedupe_ms; more := v_message.more; body := v_message.body;
            PERFORM "stem_golden".finish(v_message, v_now, v_message.settled);
            IF p_record[n] THEN
                PERFORM "stem_golden".offer(
                    p_ns, v_now, ARRAY[p_id[n]], ARRAY[v_message.fence], ARRAY[r_terminal[n]],
                    ARRAY[r_state[n]], ARRAY[r_task[n]], ARRAY[r_queue[n]], ARRAY[r_keep[n]],
                    ARRAY[r_record[n]], false
                );
            END IF;
        END IF;
        RETURN NEXT;
    END LOOP;
END
$$;

-- Keeping records: the fence decides, never the order of arrival.

-- Whether a record that is kept would have to stay as it is. One that is over is none.
CREATE OR REPLACE FUNCTION "stem_golden".stands_against(
    p_record "stem_golden".record, p_now bigint, p_fence bigint, p_data bytea
) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT p_record.keep_ms > p_now AND (
        p_record.fence > p_fence
        OR p_record.fence = p_fence AND p_record.terminal AND p_record.record <> p_data
    )
$$;

-- p_ns, now, then for each record: id, fence, whether it is terminal, state, task, queue,
-- milliseconds to keep it, and its JSON. The ids are all different.
-- returns  the ids whose records may not be saved; all others are, or were before
CREATE OR REPLACE FUNCTION "stem_golden".offer(
    p_ns integer, p_now bigint, p_id text[], p_fence bigint[], p_terminal boolean[],
    p_state text[], p_task text[], p_queue text[], p_keep bigint[], p_record bytea[],
    p_always boolean
) RETURNS text[] LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
    v_kept text[];
    v_refused text[] := '{}';
BEGIN
    WITH kept AS (
        INSERT INTO "stem_golden".record AS r (
            ns, terminal, fence, keep_ms, id, state, task, queue, record
        )
        SELECT p_ns, o.terminal, o.fence, p_now + o.keep, o.id, o.state, o.task, o.queue, o.record
        FROM unnest(p_id, p_fence, p_terminal, p_state, p_task, p_queue, p_keep, p_record)
            AS o (id, fence, terminal, state, task, queue, keep, record)
        ORDER BY o.id COLLATE "C"
        ON CONFLICT (ns, id) DO UPDATE SET
            terminal = excluded.terminal, reopened = false, fence = excluded.fence,
            keep_ms = excluded.keep_ms, state = excluded.state, task = excluded.task,
            queue = excluded.queue, record = excluded.record
        WHERE r.keep_ms <= p_now OR r.fence < excluded.fence
            OR r.fence = excluded.fence AND NOT r.terminal
        RETURNING id
    )
    SELECT array_agg(k.id) INTO v_kept FROM kept k;
    IF cardinality(v_kept) IS DISTINCT FROM cardinality(p_id) THEN
        v_refused := ARRAY(
            SELECT o.id FROM unnest(p_id, p_fence, p_record) AS o (id, fence, record)
            CROSS JOIN LATERAL (
                SELECT r.* FROM "stem_golden".record r WHERE r.ns = p_ns AND r.id = o.id LIMIT 1
            ) AS r
            WHERE o.id <> ALL (coalesce(v_kept, '{}'))
                AND (r.fence <> o.fence OR r.record <> o.record OR r.reopened)
        );
    END IF;
    PERFORM "stem_golden".tell_ended(p_ns, ARRAY(
        SELECT o.id FROM unnest(p_id, p_terminal) AS o (id, terminal)
        WHERE o.terminal AND o.id <> ALL (v_refused)
    ), p_always);
    RETURN v_refused;
END
$$;

-- Let the record of a replayed task be queued again, unless a newer fence has written.
-- returns whether there is one
CREATE OR REPLACE FUNCTION "stem_golden".reopen(
    p_ns integer, p_now bigint, p_id text, p_fence bigint
) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    UPDATE "stem_golden".record r SET reopened = true, terminal = false, state = 'queued'
    WHERE r.ns = p_ns AND r.id = p_id AND r.keep_ms > p_now AND r.fence <= p_fence;
    RETURN EXISTS (
        SELECT FROM "stem_golden".record r WHERE r.ns = p_ns AND r.id = p_id AND r.keep_ms > p_now
    );
END
$$;

-- What becomes of a message when it ends, and of what asks for one that has.

-- Say why a receipt settles nothing: 1 already, 2 stale, 3 gone.
CREATE OR REPLACE FUNCTION "stem_golden".refusal(
    p_ns integer, p_now bigint, p_id text, p_fence bigint
) RETURNS integer LANGUAGE plpgsql STABLE SET enable_seqscan = off AS $$
BEGIN
    RETURN coalesce((
        SELECT CASE WHEN k.settled = p_fence THEN 1 ELSE 2 END FROM (
            SELECT m.settled FROM "stem_golden".message m WHERE m.ns = p_ns AND m.id = p_id
            UNION ALL
            SELECT d.settled FROM "stem_golden".dead d
            WHERE d.ns = p_ns AND d.id = p_id AND d.keep_ms > p_now
            UNION ALL
            SELECT coalesce(e.settled, e.fence) FROM "stem_golden".ended e
            WHERE e.ns = p_ns AND e.id = p_id AND e.keep_ms > p_now
        ) AS k LIMIT 1
    ), 3);
END
$$;

-- Free the unique key that a message holds until it ends.
CREATE OR REPLACE FUNCTION "stem_golden".let_go(p_ns integer, p_key text, p_id text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM "stem_golden".unique_key u
    WHERE u.ns = p_ns AND u.key = p_key AND u.id = p_id AND u.keep_ms IS NULL;
END
$$;

-- Leave only the id of what has ended, for as long as it asked.
CREATE OR REPLACE FUNCTION "stem_golden".remember(
    p_ns integer, p_keep bigint, p_fence bigint, p_settled bigint, p_digest bigint, p_id text
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO "stem_golden".ended (ns, keep_ms, fence, settled, digest, id)
    VALUES (p_ns, p_keep, p_fence, nullif(coalesce(p_settled, 0), p_fence), p_digest, p_id)
    ON CONFLICT (ns, id) DO UPDATE SET
        keep_ms = excluded.keep_ms, fence = excluded.fence, settled = excluded.settled,
        digest = excluded.digest;
END
$$;

-- End a message: remove it, free its key, remember its id.
CREATE OR REPLACE FUNCTION "stem_golden".finish(
    p_message "stem_golden".message, p_now bigint, p_settled bigint
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM "stem_golden".message m WHERE m.ns = p_message.ns AND m.id = p_message.id;
    IF p_message.dedupe_ms > 0 THEN
        PERFORM "stem_golden".remember(
            p_message.ns, p_now + p_message.dedupe_ms, p_message.fence, p_settled,
            p_message.digest, p_message.id
        );
    END IF;
    IF p_message.unique_key IS NOT NULL THEN
        PERFORM "stem_golden".let_go(p_message.ns, p_message.unique_key, p_message.id);
    END IF;
END
$$;

-- Broker.extend: let leases run anew from now. Changes no fence and no counter.
--
-- returns  for each its place in the call (from 1), 0 lost, 1 held, 2 held and to be cancelled;
--          what is left of the lease, and why to cancel
--
-- A row that somebody has locked, most likely its own handler, counts as held as it is.
CREATE OR REPLACE FUNCTION "stem_golden".extend(
    p_ns integer, p_now bigint, p_id text[], p_fence bigint[], p_lease bigint[]
) RETURNS TABLE (n integer, status integer, left_ms bigint, reason text) LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
    v_now bigint := "stem_golden".now_ms(p_now);
    v_rows tid[];
BEGIN
    v_rows := ARRAY(
        SELECT m.ctid FROM unnest(p_id, p_fence) AS x (id, fence) CROSS JOIN LATERAL (
            SELECT m.ctid FROM "stem_golden".message m
            WHERE m.ns = p_ns AND m.id = x.id AND m.fence = x.fence AND coalesce(m.settled, 0) < m.fence
            LIMIT 1 FOR UPDATE SKIP LOCKED
        ) AS m
    );
    v_now := "stem_golden".now_ms(p_now);  -- however long a lock was waited for
    -- From now on `fetch` need not pass by it.
    UPDATE "stem_golden".message m
    SET place = 2, (until_ms, held_ms) = (
        SELECT v_now + x.lease, v_now + x.lease
        FROM unnest(p_id, p_fence, p_lease) AS x (id, fence, lease)
        WHERE x.id = m.id AND x.fence = m.fence LIMIT 1
    )
    WHERE m.ctid = ANY (v_rows);
    RETURN QUERY
        SELECT
            x.n::integer,
            CASE WHEN m.id IS NULL THEN 0 WHEN m.cancel_reason IS NULL THEN 1 ELSE 2 END,
            greatest(0, coalesce(m.until_ms, v_now) - v_now),
            coalesce(m.cancel_reason, '')
        FROM unnest(p_id, p_fence) WITH ORDINALITY AS x (id, fence, n)
        LEFT JOIN LATERAL (
            SELECT m.* FROM "stem_golden".message m
            WHERE m.ns = p_ns AND m.id = x.id AND m.fence = x.fence AND coalesce(m.settled, 0) < m.fence
            LIMIT 1
        ) AS m ON true
        ORDER BY x.n;
END
$$;

-- One settlement that does more than to acknowledge. Everything is checked before it writes.
--
-- p_kind   a acknowledge · t retry · b bury · l release · p the same, parked · s the same, snoozed
--          h hand back what a cancelled fetch took · i nothing: it can never be kept
-- p_after  milliseconds: to wait, or with b to keep it
-- p_record whether there is one: the r_ that follow
-- f_       its follow-ups, as for publish
-- status   0 done, 1 already, 2 stale, 3 gone, 5 invalid; detail names the follow-up
CREATE OR REPLACE FUNCTION "stem_golden".settle_one(
    p_ns integer, p_now bigint, p_always boolean, p_id text, p_fence bigint, p_kind text,
    p_after bigint, p_reason text, p_error bytea, p_attempt integer,
    p_record boolean, r_fence bigint, r_terminal boolean, r_state text, r_task text,
    r_queue text, r_keep bigint, r_record bytea,
    f_id text[], f_queue text[], f_task text[], f_rank smallint[], f_lease bigint[],
    f_dedupe bigint[], f_digest bigint[], f_wait bigint[], f_at bigint[], f_kind smallint[],
    f_key text[], f_window bigint[], f_more bytea[], f_body bytea[],
    OUT status integer, OUT detail text
) LANGUAGE plpgsql
SET enable_seqscan = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
    v_message "stem_golden".message;
    v_errors bytea[];
    v_known bigint;
BEGIN
    detail := '';
    SELECT m.* INTO v_message FROM "stem_golden".message m
    WHERE m.ns = p_ns AND m.id = p_id AND m.fence = p_fence AND coalesce(m.settled, 0) < m.fence FOR UPDATE;
    IF NOT FOUND THEN
        status := "stem_golden".refusal(p_ns, p_now, p_id, p_fence);
        RETURN;
    END IF;
    status := 5;
    IF p_kind = 'i' THEN
        RETURN;
    END IF;
    FOR i IN 1 .. coalesce(cardinality(f_id), 0) LOOP
        SELECT m.digest INTO v_known FROM "stem_golden".message m WHERE m.ns = p_ns AND m.id = f_id[i];
        v_known := coalesce(v_known, "stem_golden".past_digest(p_ns, p_now, f_id[i]));
        IF v_known <> f_digest[i] THEN
            detail := f_id[i];
            RETURN;
        END IF;
    END LOOP;
    IF p_record AND "stem_golden".offer(
        p_ns, p_now, ARRAY[p_id], ARRAY[r_fence], ARRAY[r_terminal], ARRAY[r_state],
        ARRAY[r_task], ARRAY[r_queue], ARRAY[r_keep], ARRAY[r_record], p_always
    ) <> '{}' THEN
        status := 2;
        RETURN;
    END IF;

    v_errors := v_message.errors;
    IF p_error <> '' THEN
        v_errors := coalesce(v_errors, '{}') || p_error;
        v_errors := v_errors[greatest(1, cardinality(v_errors) - 19):];
    END IF;
    IF p_kind = 'a' THEN
        PERFORM "stem_golden".finish(v_message, p_now, p_fence);
    ELSIF p_kind = 'b' THEN
        PERFORM "stem_golden".bury(
            v_message, p_now, p_after, p_reason, v_errors, greatest(v_message.failed, p_attempt)
        );
    ELSE
        PERFORM "stem_golden".come_back(v_message, p_now, p_kind, p_after, v_errors, p_always);
    END IF;

    FOR i IN 1 .. coalesce(cardinality(f_id), 0) LOOP
        PERFORM "stem_golden".admit(
            p_ns, p_now, f_id[i], f_queue[i], f_task[i], f_rank[i], f_lease[i], f_dedupe[i],
            f_digest[i], f_wait[i], f_at[i], f_kind[i], f_key[i], f_window[i], f_more[i],
            f_body[i], p_always
        );
    END LOOP;
    status := 0;
END
$$;

-- Let a message die: it is kept whole, apart from live work.
CREATE OR REPLACE FUNCTION "stem_golden".bury(
    p_message "stem_golden".message, p_now bigint, p_keep bigint, p_reason text, p_errors bytea[],
    p_failed integer
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_dead "stem_golden".message := p_message;
BEGIN
    v_dead.ticket := nextval('"stem_golden".turn');
    v_dead.settled := p_message.fence;
    v_dead.lapses := 0;
    v_dead.until_ms := NULL;
    v_dead.held_ms := NULL;
    v_dead.errors := p_errors;
    v_dead.failed := p_failed;
    DELETE FROM "stem_golden".message m WHERE m.ns = p_message.ns AND m.id = p_message.id;
    DELETE FROM "stem_golden".dead d WHERE d.ns = p_message.ns AND d.id = p_message.id;
    INSERT INTO "stem_golden".dead SELECT v_dead.*, p_reason, p_now, p_now + p_keep;
    IF p_message.unique_key IS NOT NULL THEN
        PERFORM "stem_golden".let_go(p_message.ns, p_message.unique_key, p_message.id);
    END IF;
END
$$;

-- Let a message wait again, or be ready at once: after a retry behind all others, after a
-- release at its old turn, after a hand-back as if it had never been taken but for its fence.
CREATE OR REPLACE FUNCTION "stem_golden".come_back(
    p_message "stem_golden".message, p_now bigint, p_kind text, p_after bigint, p_errors bytea[],
    p_always boolean
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_is_new_turn boolean := p_after > 0 OR p_kind = 't';
    v_ready bigint := CASE WHEN v_is_new_turn THEN p_now + p_after ELSE p_message.ready_ms END;
BEGIN
    UPDATE "stem_golden".message m SET
        place = CASE p_kind WHEN 'p' THEN 1 ELSE 0 END,
        ready_ms = v_ready,
        ticket = CASE WHEN v_is_new_turn THEN nextval('"stem_golden".turn') ELSE m.ticket END,
        until_ms = NULL,
        held_ms = NULL,
        settled = m.fence,
        lapses = CASE p_kind WHEN 'h' THEN m.lapses ELSE 0 END,
        failed = m.failed + CASE p_kind WHEN 't' THEN 1 ELSE 0 END,
        releases = m.releases + CASE WHEN p_kind IN ('t', 'h') THEN 0 ELSE 1 END,
        parked_ms = CASE
            WHEN p_kind IN ('t', 's') THEN NULL
            WHEN p_kind = 'p' THEN coalesce(m.parked_ms, p_now)
            ELSE m.parked_ms
        END,
        errors = p_errors
    WHERE m.ns = p_message.ns AND m.id = p_message.id;
    IF p_kind = 'h' AND p_message.unique_kind = 2 AND p_message.fence = p_message.base + 1 THEN
        PERFORM "stem_golden".claim(
            p_message.ns, p_now, p_message.unique_key, p_message.id, NULL
        );
    END IF;
    PERFORM "stem_golden".rouse(p_message.ns, p_message.queue, v_ready, p_always);
END
$$;

-- Broker.fetch: make ready again what has lapsed, and lease what is first.
--
-- p_wait is how long the caller would wait, in milliseconds.
-- returns  a row for each delivery, in any order: `n` is the place of its queue in the call, and
--          with rank, ready_ms and ticket tells its turn
--      or  one row without id, whose until_ms says when to look again
--
-- The plan is the same with and without statistics: for each queue and rank, in order, a walk
-- along one index, which ends when there are enough. On its way it passes by what others hold
-- under a lease that is still young; a lease that was extended is known to another index.
CREATE OR REPLACE FUNCTION "stem_golden".fetch(
    p_ns integer, p_now bigint, p_queues text[], p_limit integer, p_wait bigint, p_worker text
) RETURNS TABLE (
    n integer, now_ms bigint, rank smallint, ready_ms bigint, ticket bigint, until_ms bigint,
    id text, queue text, task text, lease_ms bigint, dedupe_ms bigint, more bytea, body bytea,
    fence bigint, failed integer, lapses integer, releases integer, parked_ms bigint,
    cancel_reason text, errors bytea[]
) LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET enable_bitmapscan = off SET enable_sort = off SET jit = off
SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
    v_now bigint := "stem_golden".now_ms(p_now);
    v_open text[];
    v_queue text;
    v_rows tid[] := '{}';  -- locked, so that they stay where they are
    v_more tid[];
    v_lapsed tid[];
    v_room integer;
    v_span integer;
    v_frees boolean := false;  -- a unique key is let go by a first lease
    v_some boolean;
    v_at bigint := v_now + p_wait;
BEGIN
    v_open := ARRAY(
        SELECT q.queue FROM unnest(p_queues) AS q (queue) WHERE NOT EXISTS (
            SELECT FROM "stem_golden".paused p WHERE p.ns = p_ns AND p.queue = q.queue
        )
    );

    v_lapsed := ARRAY(
        SELECT m.ctid FROM unnest(v_open) AS q (queue) CROSS JOIN LATERAL (
            SELECT m.ctid FROM "stem_golden".message m
            WHERE m.ns = p_ns AND m.queue = q.queue AND m.held_ms <= v_now
            ORDER BY m.held_ms LIMIT greatest(200, 2 * p_limit)
            FOR UPDATE SKIP LOCKED  -- what its own handler is settling has not lapsed
        ) AS m
    );
    IF v_lapsed <> '{}' THEN
        PERFORM "stem_golden".let_lapse(v_lapsed);
    END IF;

    FOREACH v_queue IN ARRAY v_open LOOP
        v_room := p_limit - cardinality(v_rows);
        v_span := v_room;
        LOOP
            SELECT
                array_agg(w.at) FILTER (WHERE w.place < 2),
                array_agg(w.at) FILTER (WHERE w.place = 2), bool_or(w.unique_kind = 2)
            INTO v_more, v_lapsed, v_some
            FROM (
                SELECT m.ctid AS at, m.place, m.unique_kind
                FROM generate_series(0, 9) AS r (rank) CROSS JOIN LATERAL (
                    SELECT m.ctid, m.place, m.unique_kind FROM "stem_golden".message m
                    WHERE m.ns = p_ns AND m.queue = v_queue AND m.rank = r.rank
                        AND m.held_ms IS NULL AND m.ready_ms <= v_now
                        AND (m.place < 2 OR m.until_ms <= v_now)
                    ORDER BY m.ready_ms, m.ticket LIMIT v_span
                    FOR UPDATE SKIP LOCKED
                ) AS m LIMIT v_span
            ) AS w;
            EXIT WHEN v_lapsed IS NULL;
            -- It stood where it was taken from, and belongs where its lease has ended, later
            -- than that: so nothing in between is missed by walking once more.
            PERFORM "stem_golden".let_lapse(v_lapsed);
            v_span := greatest(200, 2 * v_room);
        END LOOP;
        v_rows := v_rows || v_more[:v_room];
        v_frees := v_frees OR coalesce(v_some, false);
        EXIT WHEN cardinality(v_rows) >= p_limit;
    END LOOP;

    IF v_rows <> '{}' THEN
        IF v_frees THEN
            DELETE FROM "stem_golden".unique_key u USING "stem_golden".message m
            WHERE m.ctid = ANY (v_rows) AND m.unique_kind = 2
                AND u.ns = p_ns AND u.key = m.unique_key AND u.id = m.id AND u.keep_ms IS NULL;
        END IF;
        v_now := "stem_golden".now_ms(p_now);  -- a lease runs from now, however long a lock was waited for
        RETURN QUERY
            UPDATE "stem_golden".message m
            SET place = 2, until_ms = v_now + m.lease_ms, fence = m.fence + 1, worker = p_worker
            WHERE m.ctid = ANY (v_rows)
            RETURNING
                array_position(p_queues, m.queue), v_now, m.rank, m.ready_ms, m.ticket,
                m.until_ms, m.id, m.queue, m.task, m.lease_ms, m.dedupe_ms, m.more, m.body,
                m.fence, m.failed, m.lapses, m.releases, m.parked_ms, m.cancel_reason, m.errors;
        RETURN;
    END IF;

    -- Nothing: say when something will be due, and note that somebody sleeps until then.
    IF p_wait > 0 THEN
        SELECT least(v_at, min(m.due)) INTO v_at
        FROM unnest(v_open) AS q (queue) CROSS JOIN LATERAL (
            SELECT min(f.due) AS due FROM generate_series(0, 9) AS r (rank) CROSS JOIN LATERAL (
                (SELECT m.ready_ms AS due FROM "stem_golden".message m
                WHERE m.ns = p_ns AND m.queue = q.queue AND m.rank = r.rank
                    AND m.held_ms IS NULL AND m.ready_ms > v_now
                ORDER BY m.ready_ms, m.ticket LIMIT 1)
                UNION ALL
                (SELECT min(m.until_ms) FROM "stem_golden".message m
                WHERE m.ns = p_ns AND m.queue = q.queue AND m.rank = r.rank
                    AND m.held_ms IS NULL AND m.ready_ms <= v_now AND m.place = 2)
            ) AS f
            UNION ALL
            SELECT l.held_ms FROM (
                SELECT m.held_ms FROM "stem_golden".message m
                WHERE m.ns = p_ns AND m.queue = q.queue AND m.held_ms IS NOT NULL
                ORDER BY m.held_ms LIMIT 1
            ) AS l
        ) AS m;
        INSERT INTO "stem_golden".sleeper AS s (ns, until_ms, queue)
        SELECT p_ns, v_at + 5000, q.queue FROM unnest(p_queues) AS q (queue)
        ORDER BY q.queue COLLATE "C"
        ON CONFLICT (ns, queue) DO UPDATE SET until_ms = excluded.until_ms
        WHERE s.until_ms < excluded.until_ms - 4000;
    END IF;
    n := 0;
    now_ms := v_now;
    until_ms := v_at;
    RETURN NEXT;
END
$$;

-- Make ready again what these rows hold; its lease has ended.
CREATE OR REPLACE FUNCTION "stem_golden".let_lapse(p_rows tid[]) RETURNS void LANGUAGE plpgsql
SET enable_seqscan = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    UPDATE "stem_golden".message m SET
        place = 0, ready_ms = m.until_ms, until_ms = NULL, held_ms = NULL, lapses = m.lapses + 1
    WHERE m.ctid = ANY (p_rows);
END
$$;

-- LimitStore.acquire: one unit of every limit, or of none. A rate is exact: no window has more
-- starts. The keys are all different.
--
-- returns  0 when granted, else milliseconds to wait
CREATE OR REPLACE FUNCTION "stem_golden".acquire(
    p_ns integer, p_now bigint, p_holder text, p_lease bigint, p_key text[], p_rate integer[],
    p_per bigint[], p_concurrent integer[]
) RETURNS bigint LANGUAGE plpgsql
SET enable_seqscan = off SET jit = off AS $$
DECLARE
    v_now bigint;
    v_wait bigint := 0;
    v_at bigint;
BEGIN
    -- Who asks for the same key waits its turn; sorted, so that nobody waits crosswise.
    PERFORM pg_advisory_xact_lock(hashtextextended(k.key, p_ns))
    FROM (SELECT u.key FROM unnest(p_key) AS u (key) ORDER BY u.key) AS k;
    v_now := "stem_golden".now_ms(p_now);
    FOR i IN 1 .. cardinality(p_key) LOOP
        IF p_rate[i] > 0 THEN
            SELECT s.at_ms INTO v_at FROM "stem_golden".start s
            WHERE s.ns = p_ns AND s.key = p_key[i] AND s.at_ms > v_now - p_per[i]
            ORDER BY s.at_ms DESC OFFSET p_rate[i] - 1 LIMIT 1;
            IF FOUND THEN
                v_wait := greatest(v_wait, v_at + p_per[i] - v_now);
            END IF;
        END IF;
        IF p_concurrent[i] > 0 AND NOT EXISTS (
            SELECT FROM "stem_golden".holder h WHERE h.ns = p_ns AND h.key = p_key[i]
                AND h.holder = p_holder AND h.keep_ms > v_now
        ) THEN
            SELECT min(h.keep_ms) INTO v_at FROM "stem_golden".holder h
            WHERE h.ns = p_ns AND h.key = p_key[i] AND h.keep_ms > v_now
            HAVING count(*) >= p_concurrent[i];
            IF FOUND THEN  -- a unit may be given back at any time, long before its lease ends
                v_wait := greatest(v_wait, least(250, v_at - v_now));
            END IF;
        END IF;
    END LOOP;
    IF v_wait > 0 THEN
        RETURN v_wait;
    END IF;
    FOR i IN 1 .. cardinality(p_key) LOOP
        IF p_rate[i] > 0 THEN
            INSERT INTO "stem_golden".start (ns, at_ms, keep_ms, key)
            VALUES (p_ns, v_now, v_now + p_per[i], p_key[i]);
        END IF;
        IF p_concurrent[i] > 0 THEN
            INSERT INTO "stem_golden".holder (ns, keep_ms, key, holder)
            VALUES (p_ns, v_now + p_lease, p_key[i], p_holder)
            ON CONFLICT (ns, key, holder) DO UPDATE SET keep_ms = excluded.keep_ms;
        END IF;
    END LOOP;
    RETURN 0;
END
$$;

-- Broker.publish: accept messages, each whole or not at all, all of them in one step.
--
-- p_wait is a duration; p_at an instant, or 0 for none. Both in milliseconds.
-- returns  nothing when every one was created, else a row for each: its place in the call
--          (from 1), status as in admit, and holder
--
-- Hardly ever is an id known: all are written at once, and only if one was, one by one.
CREATE OR REPLACE FUNCTION "stem_golden".publish(
    p_ns integer, p_now bigint, p_always boolean,
    p_id text[], p_queue text[], p_task text[], p_rank smallint[], p_lease bigint[],
    p_dedupe bigint[], p_digest bigint[], p_wait bigint[], p_at bigint[], p_kind smallint[],
    p_key text[], p_window bigint[], p_more bytea[], p_body bytea[]
) RETURNS TABLE (n integer, status integer, detail text) LANGUAGE plpgsql
SET enable_seqscan = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
    v_now bigint := "stem_golden".now_ms(p_now);
    v_are_new boolean := false;
    v_queue text;
    v_at bigint;
BEGIN
    IF 0 = ALL (p_kind) THEN
        BEGIN
            INSERT INTO "stem_golden".message (
                ns, rank, ready_ms, ticket, fence, base, lease_ms, dedupe_ms, digest,
                id, queue, task, more, body
            )
            SELECT
                p_ns, i.rank,
                greatest(v_now, CASE WHEN i.at > 0 THEN i.at ELSE v_now + i.wait END),
                i.ticket, i.ticket << 16, i.ticket << 16, i.lease, i.dedupe,
                i.digest, i.id, i.queue, i.task, nullif(i.more, ''), i.body
            FROM (
                SELECT u.*, nextval('"stem_golden".turn') AS ticket
                FROM unnest(
                    p_id, p_queue, p_task, p_rank, p_lease, p_dedupe, p_digest, p_wait, p_at,
                    p_more, p_body
                ) AS u (id, queue, task, rank, lease, dedupe, digest, wait, at, more, body)
            ) AS i ORDER BY i.id COLLATE "C";  -- two calls with the same ids never lock crosswise
            -- A new statement sees what others committed before they let this one write.
            IF EXISTS (
                SELECT FROM unnest(p_id) AS i (id) CROSS JOIN LATERAL (
                    (SELECT FROM "stem_golden".ended e WHERE e.ns = p_ns AND e.id = i.id LIMIT 1)
                    UNION ALL
                    (SELECT FROM "stem_golden".dead d WHERE d.ns = p_ns AND d.id = i.id LIMIT 1)
                ) AS past
            ) THEN
                RAISE unique_violation;
            END IF;
            v_are_new := true;
        EXCEPTION WHEN unique_violation THEN
            v_are_new := false;  -- and none of them is written
        END;
    END IF;
    IF v_are_new THEN
        FOR v_queue, v_at IN
            SELECT i.queue, min(CASE WHEN i.at > 0 THEN i.at ELSE v_now + i.wait END)
            FROM unnest(p_queue, p_wait, p_at) AS i (queue, wait, at)
            GROUP BY i.queue ORDER BY i.queue COLLATE "C"
        LOOP
            PERFORM "stem_golden".rouse(p_ns, v_queue, v_at, p_always);
        END LOOP;
        RETURN;
    END IF;
    RETURN QUERY
        SELECT i.n::integer, left(a.reply, 1)::integer, substr(a.reply, 2)
        FROM unnest(
            p_id, p_queue, p_task, p_rank, p_lease, p_dedupe, p_digest, p_wait, p_at, p_kind,
            p_key, p_window, p_more, p_body
        ) WITH ORDINALITY AS i (
            id, queue, task, rank, lease, dedupe, digest, wait, at, kind, key, win, more, body, n
        ), LATERAL "stem_golden".admit(
            p_ns, v_now, i.id, i.queue, i.task, i.rank, i.lease, i.dedupe, i.digest, i.wait, i.at,
            i.kind, i.key, i.win, i.more, i.body, p_always
        ) AS a (reply);
END
$$;

-- BrokerAdmin.replay and discard: dead letters back to ready, or gone for good.
--
-- returns  for each its place in the call (from 1), 0 done, 1 already, 2 unknown, 3 unique; and
--          the fence when done

CREATE OR REPLACE FUNCTION "stem_golden".replay(p_ns integer, p_now bigint, p_id text[])
RETURNS TABLE (n integer, status integer, fence bigint) LANGUAGE plpgsql
SET enable_seqscan = off SET jit = off AS $$
#variable_conflict use_column
DECLARE
    v_now bigint := "stem_golden".now_ms(p_now);
    v_dead "stem_golden".dead;
    v_holder text;
BEGIN
    FOR n IN 1 .. cardinality(p_id) LOOP
        fence := 0;
        SELECT d.* INTO v_dead FROM "stem_golden".dead d
        WHERE d.ns = p_ns AND d.id = p_id[n] AND d.keep_ms > v_now FOR UPDATE;
        IF NOT FOUND THEN
            status := CASE WHEN EXISTS (
                SELECT FROM "stem_golden".message m WHERE m.ns = p_ns AND m.id = p_id[n]
            ) THEN 1 ELSE 2 END;
            RETURN NEXT;
            CONTINUE;
        END IF;
        v_holder := NULL;
        IF v_dead.unique_kind IN (1, 2) THEN
            v_holder := "stem_golden".claim(p_ns, v_now, v_dead.unique_key, v_dead.id, NULL);
        ELSIF v_dead.unique_kind = 3 THEN
            SELECT u.id INTO v_holder FROM "stem_golden".unique_key u
            WHERE u.ns = p_ns AND u.key = v_dead.unique_key AND u.keep_ms > v_now;
        END IF;
        status := 3;
        IF v_holder IS NULL OR v_holder = v_dead.id THEN
            status := 0;
            fence := v_dead.fence;
            DELETE FROM "stem_golden".dead d WHERE d.ns = p_ns AND d.id = v_dead.id;
            INSERT INTO "stem_golden".message (
                ns, rank, unique_kind, ready_ms, ticket, fence, base, settled, lease_ms,
                dedupe_ms, digest, window_ms, releases, id, queue, task, unique_key, errors,
                more, body
            ) VALUES (
                p_ns, v_dead.rank, v_dead.unique_kind, v_now, nextval('"stem_golden".turn'), v_dead.fence,
                v_dead.base, v_dead.settled, v_dead.lease_ms, v_dead.dedupe_ms, v_dead.digest,
                v_dead.window_ms, v_dead.releases, v_dead.id, v_dead.queue, v_dead.task,
                v_dead.unique_key, v_dead.errors, v_dead.more, v_dead.body
            );
            PERFORM "stem_golden".reopen(p_ns, v_now, v_dead.id, v_dead.fence);
            PERFORM "stem_golden".rouse(p_ns, v_dead.queue, v_now);
        END IF;
        RETURN NEXT;
    END LOOP;
END
$$;

CREATE OR REPLACE FUNCTION "stem_golden".discard(p_ns integer, p_now bigint, p_id text[])
RETURNS TABLE (n integer, status integer, fence bigint) LANGUAGE plpgsql
SET enable_seqscan = off SET jit = off AS $$
#variable_conflict use_column
DECLARE
    v_now bigint := "stem_golden".now_ms(p_now);
    v_dead "stem_golden".dead;
BEGIN
    FOR n IN 1 .. cardinality(p_id) LOOP
        fence := 0;
        DELETE FROM "stem_golden".dead d WHERE d.ns = p_ns AND d.id = p_id[n] AND d.keep_ms > v_now
        RETURNING d.* INTO v_dead;
        IF FOUND THEN
            status := 0;
            fence := v_dead.fence;
            IF v_dead.dedupe_ms > 0 THEN
                PERFORM "stem_golden".remember(
                    p_ns, v_now + v_dead.dedupe_ms, v_dead.fence, v_dead.settled,
                    v_dead.digest, v_dead.id
                );
            END IF;
        ELSE
            status := CASE WHEN EXISTS (
                SELECT FROM "stem_golden".message m WHERE m.ns = p_ns AND m.id = p_id[n]
            ) THEN 1 ELSE 2 END;
        END IF;
        RETURN NEXT;
    END LOOP;
END
$$;

-- Broker.settle: each settlement with its record and follow-ups, or not at all.
--
-- Each array has one value for each settlement, as in settle_one; f_owner says whose a follow-up
-- is, from 1. p_record is NULL when none has a record.
-- returns  a row for each that is not done: its place in the call (from 1), status and detail
--
-- Most settlements acknowledge and nothing else: those are one statement for all of them.
CREATE OR REPLACE FUNCTION "stem_golden".settle(
    p_ns integer, p_now bigint, p_always boolean, p_id text[], p_fence bigint[], p_kind text[],
    p_after bigint[], p_reason text[], p_error bytea[], p_attempt integer[],
    p_record boolean[], r_fence bigint[], r_terminal boolean[], r_state text[], r_task text[],
    r_queue text[], r_keep bigint[], r_record bytea[],
    f_owner integer[], f_id text[], f_queue text[], f_task text[], f_rank smallint[],
    f_lease bigint[], f_dedupe bigint[], f_digest bigint[], f_wait bigint[], f_at bigint[],
    f_kind smallint[], f_key text[], f_window bigint[], f_more bytea[], f_body bytea[]
) RETURNS TABLE (n integer, status integer, detail text) LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
    v_now bigint := "stem_golden".now_ms(p_now);
    v_done integer[] := '{}';
BEGIN
    IF (SELECT count(DISTINCT i.id) FROM unnest(p_id) AS i (id)) = cardinality(p_id) THEN
        v_done := "stem_golden".acknowledge(
            p_ns, v_now, p_always, p_id, p_fence, p_kind, p_record, r_fence, r_terminal,
            r_state, r_task, r_queue, r_keep, r_record, f_owner
        );
        IF cardinality(v_done) = cardinality(p_id) THEN
            RETURN;
        END IF;
    END IF;
    FOR n IN
        SELECT g.n FROM generate_series(1, cardinality(p_id)) AS g (n)
        WHERE g.n <> ALL (v_done) ORDER BY g.n
    LOOP
        SELECT s.status, s.detail INTO status, detail
        FROM (
            SELECT
                array_agg(f.id ORDER BY f.m) AS id, array_agg(f.queue ORDER BY f.m) AS queue,
                array_agg(f.task ORDER BY f.m) AS task, array_agg(f.rank ORDER BY f.m) AS rank,
                array_agg(f.lease ORDER BY f.m) AS lease,
                array_agg(f.dedupe ORDER BY f.m) AS dedupe,
                array_agg(f.digest ORDER BY f.m) AS digest,
                array_agg(f.wait ORDER BY f.m) AS wait, array_agg(f.at ORDER BY f.m) AS at,
                array_agg(f.kind ORDER BY f.m) AS kind, array_agg(f.key ORDER BY f.m) AS key,
                array_agg(f.win ORDER BY f.m) AS win, array_agg(f.more ORDER BY f.m) AS more,
                array_agg(f.body ORDER BY f.m) AS body
            FROM unnest(
                f_owner, f_id, f_queue, f_task, f_rank, f_lease, f_dedupe, f_digest, f_wait,
                f_at, f_kind, f_key, f_window, f_more, f_body
            ) WITH ORDINALITY AS f (
                owner, id, queue, task, rank, lease, dedupe, digest, wait, at, kind, key, win,
                more, body, m
            ) WHERE f.owner = n
        ) AS f, LATERAL "stem_golden".settle_one(
            p_ns, v_now, p_always, p_id[n], p_fence[n], p_kind[n], p_after[n], p_reason[n],
            p_error[n], p_attempt[n], coalesce(p_record[n], false), r_fence[n], r_terminal[n],
            r_state[n], r_task[n], r_queue[n], r_keep[n], r_record[n],
            f.id, f.queue, f.task, f.rank, f.lease, f.dedupe, f.digest, f.wait, f.at, f.kind,
            f.key, f.win, f.more, f.body
        ) AS s;
        IF status <> 0 THEN
            RETURN NEXT;
        END IF;
    END LOOP;
END
$$;

-- Do the plain acknowledgements whose leases hold; return their places in the call.
CREATE OR REPLACE FUNCTION "stem_golden".acknowledge(
    p_ns integer, p_now bigint, p_always boolean, p_id text[], p_fence bigint[], p_kind text[],
    p_record boolean[], r_fence bigint[], r_terminal boolean[], r_state text[], r_task text[],
    r_queue text[], r_keep bigint[], r_record bytea[], f_owner integer[]
) RETURNS integer[] LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
    v_plain integer[];
    v_first integer[];    -- of those with a record: it is the first of its task
    v_later integer[];    -- it replaces another
    v_rows tid[];
    v_done integer[];
    v_ids text[];
    v_keys text[];
BEGIN
    v_plain := ARRAY(
        SELECT i.n::integer FROM unnest(p_kind) WITH ORDINALITY AS i (kind, n)
        WHERE i.kind = 'a' AND (f_owner IS NULL OR i.n <> ALL (f_owner))
    );
    IF p_record IS NOT NULL THEN
        SELECT
            array_agg(i.n) FILTER (WHERE NOT p_record[i.n] OR k.r IS NULL OR NOT
                "stem_golden".stands_against(k.r, p_now, r_fence[i.n], r_record[i.n])),
            array_agg(i.n) FILTER (WHERE p_record[i.n] AND k.r IS NULL),
            array_agg(i.n) FILTER (WHERE p_record[i.n] AND k.r IS NOT NULL)
        INTO v_plain, v_first, v_later
        FROM unnest(v_plain) AS i (n) LEFT JOIN LATERAL (
            SELECT r FROM "stem_golden".record r WHERE r.ns = p_ns AND r.id = p_id[i.n] LIMIT 1
        ) AS k ON true;
    END IF;
    SELECT coalesce(array_agg(m.ctid), '{}'), coalesce(array_agg(i.n), '{}') INTO v_rows, v_done
    FROM unnest(v_plain) AS i (n) CROSS JOIN LATERAL (
        SELECT m.ctid FROM "stem_golden".message m
        WHERE m.ns = p_ns AND m.id = p_id[i.n] AND m.fence = p_fence[i.n]
            AND coalesce(m.settled, 0) < m.fence
        LIMIT 1
    ) AS m;
    WITH gone AS (
        DELETE FROM "stem_golden".message m WHERE m.ctid = ANY (v_rows) AND coalesce(m.settled, 0) < m.fence
        RETURNING m.id, m.fence, m.dedupe_ms, m.digest, m.unique_key
    ), stones AS (
        INSERT INTO "stem_golden".ended (keep_ms, fence, digest, ns, id)
        SELECT p_now + g.dedupe_ms, g.fence, g.digest, p_ns, g.id
        FROM gone g WHERE g.dedupe_ms > 0
    )
    SELECT array_agg(g.id), array_agg(g.unique_key) FILTER (WHERE g.unique_key IS NOT NULL)
    INTO v_ids, v_keys FROM gone g;
    IF cardinality(v_ids) IS DISTINCT FROM cardinality(v_done) THEN
        -- Somebody was at one of them in between: his change decides, and it takes its own turn.
        v_done := ARRAY(SELECT d.n FROM unnest(v_done) AS d (n) WHERE p_id[d.n] = ANY (v_ids));
    END IF;
    IF v_keys IS NOT NULL THEN
        DELETE FROM "stem_golden".unique_key u
        WHERE u.ns = p_ns AND u.key = ANY (v_keys) AND u.id = ANY (v_ids) AND u.keep_ms IS NULL;
    END IF;
    IF cardinality(v_done) < cardinality(p_id) THEN
        v_first := ARRAY(SELECT unnest(v_first) INTERSECT SELECT unnest(v_done));
        v_later := ARRAY(SELECT unnest(v_later) INTERSECT SELECT unnest(v_done));
    END IF;
    IF v_first <> '{}' THEN
        INSERT INTO "stem_golden".record (ns, terminal, fence, keep_ms, id, state, task, queue, record)
        SELECT
            p_ns, r_terminal[i.n], r_fence[i.n], p_now + r_keep[i.n], p_id[i.n], r_state[i.n],
            r_task[i.n], r_queue[i.n], r_record[i.n]
        FROM unnest(v_first) AS i (n) ORDER BY p_id[i.n] COLLATE "C";
        PERFORM "stem_golden".tell_ended(
            p_ns, ARRAY(SELECT p_id[i.n] FROM unnest(v_first) AS i (n) WHERE r_terminal[i.n]),
            p_always
        );
    END IF;
    IF v_later <> '{}' THEN
        PERFORM "stem_golden".offer(
            p_ns, p_now, array_agg(p_id[i.n]), array_agg(r_fence[i.n]),
            array_agg(r_terminal[i.n]), array_agg(r_state[i.n]), array_agg(r_task[i.n]),
            array_agg(r_queue[i.n]), array_agg(r_keep[i.n]), array_agg(r_record[i.n]), p_always
        )
        FROM unnest(v_later) AS i (n);
    END IF;
    RETURN v_done;
EXCEPTION WHEN unique_violation THEN
    -- Somebody wrote one of the records in between: each takes its own turn.
    RETURN '{}';
END
$$;

-- Clear away a piece of what is over, in one namespace. One worker at a time does it; what
-- somebody uses is left for the next time.
--
-- returns  how many rows went; as many as p_limit means that there may be more
CREATE OR REPLACE FUNCTION "stem_golden".sweep(p_ns integer, p_now bigint, p_limit integer)
RETURNS integer LANGUAGE plpgsql
SET enable_seqscan = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
    v_now bigint := "stem_golden".now_ms(p_now);
    v_count integer := 0;
    v_most integer := 0;
    v_table text;
BEGIN
    IF NOT pg_try_advisory_xact_lock(7314160, p_ns) THEN
        RETURN 0;
    END IF;
    WITH gone AS (
        DELETE FROM "stem_golden".dead d WHERE d.ctid = ANY (ARRAY(
            SELECT o.ctid FROM "stem_golden".dead o WHERE o.ns = p_ns AND o.keep_ms <= v_now
            ORDER BY o.keep_ms LIMIT p_limit FOR UPDATE SKIP LOCKED
        )) RETURNING d.id, d.fence, d.settled, d.digest, d.dedupe_ms
    ), stones AS (
        INSERT INTO "stem_golden".ended (ns, keep_ms, fence, settled, digest, id)
        SELECT
            p_ns, v_now + g.dedupe_ms, g.fence, nullif(coalesce(g.settled, 0), g.fence), g.digest,
            g.id
        FROM gone g WHERE g.dedupe_ms > 0
        ON CONFLICT (ns, id) DO NOTHING
    )
    SELECT count(*) INTO v_most FROM gone;
    FOREACH v_table IN ARRAY ARRAY[
        'ended', 'record', 'progress', 'unique_key', 'start', 'holder', 'heartbeat'
    ] LOOP
        EXECUTE format(
            'DELETE FROM "stem_golden".%1$I t WHERE t.ctid = ANY (ARRAY(SELECT o.ctid FROM "stem_golden".%1$I o '
            'WHERE o.ns = $1 AND o.keep_ms <= $2 ORDER BY o.keep_ms LIMIT $3 '
            'FOR UPDATE SKIP LOCKED))', v_table
        ) USING p_ns, v_now, p_limit;
        GET DIAGNOSTICS v_count = ROW_COUNT;
        v_most := greatest(v_most, v_count);
    END LOOP;
    DELETE FROM "stem_golden".control c WHERE c.ns = p_ns AND c.at_ms <= v_now - 60000;
    DELETE FROM "stem_golden".waiter w WHERE w.ns = p_ns AND w.until_ms <= v_now;
    DELETE FROM "stem_golden".sleeper s WHERE s.ns = p_ns AND s.until_ms <= v_now;
    RETURN v_most;
END
$$;

UPDATE "stem_golden".version SET version = 1;

COMMIT;

-- Broker.fetch: make ready again what has lapsed, and lease what is first.
--
-- p_wait is how long the caller would wait, in milliseconds.
-- p_low is ready_ms from which on to look, ten ranks for each queue; NULL: from the start
-- returns  a row for each delivery, in any order: `n` is the place of its queue in the call, and
--          with rank, ready_ms and ticket tells its turn
--      or  one row without id, whose until_ms says when to look again
--
-- The plan is the same with and without statistics: for each queue and rank, in order, a walk
-- along one index, which ends when there are enough. On its way it passes by what others hold
-- under a lease that is still young; a lease that was extended is known to another index.
CREATE OR REPLACE FUNCTION stem.fetch(
    p_ns integer, p_now bigint, p_queues text[], p_limit integer, p_wait bigint, p_worker text,
    p_low bigint[] DEFAULT NULL
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
    v_now bigint := stem.now_ms(p_now);
    v_open text[];
    v_queue text;
    v_rows tid[] := '{}';  -- locked, so that they stay where they are
    v_more tid[];
    v_lapsed tid[];
    v_room integer;
    v_span integer;
    v_low integer;  -- where in p_low the queue begins
    v_frees boolean := false;  -- a unique key is let go by a first lease
    v_some boolean;
    v_at bigint := v_now + p_wait;
BEGIN
    v_open := ARRAY(
        SELECT q.queue FROM unnest(p_queues) AS q (queue) WHERE NOT EXISTS (
            SELECT FROM stem.paused p WHERE p.ns = p_ns AND p.queue = q.queue
        )
    );

    v_lapsed := ARRAY(
        SELECT m.ctid FROM unnest(v_open) AS q (queue) CROSS JOIN LATERAL (
            SELECT m.ctid FROM stem.message m
            WHERE m.ns = p_ns AND m.queue = q.queue AND m.held_ms <= v_now
            ORDER BY m.held_ms LIMIT greatest(200, 2 * p_limit)
            FOR UPDATE SKIP LOCKED  -- what its own handler is settling has not lapsed
        ) AS m
    );
    IF v_lapsed <> '{}' THEN
        PERFORM stem.let_lapse(v_lapsed);
    END IF;

    FOREACH v_queue IN ARRAY v_open LOOP
        v_room := p_limit - cardinality(v_rows);
        v_low := 10 * array_position(p_queues, v_queue) - 9;
        v_span := v_room;
        LOOP
            SELECT
                array_agg(w.at) FILTER (WHERE w.place < 2),
                array_agg(w.at) FILTER (WHERE w.place = 2), bool_or(w.unique_kind = 2)
            INTO v_more, v_lapsed, v_some
            FROM (
                SELECT m.ctid AS at, m.place, m.unique_kind
                FROM generate_series(0, 9) AS r (rank) CROSS JOIN LATERAL (
                    SELECT m.ctid, m.place, m.unique_kind FROM stem.message m
                    WHERE m.ns = p_ns AND m.queue = v_queue AND m.rank = r.rank
                        AND m.held_ms IS NULL AND m.ready_ms <= v_now
                        AND m.ready_ms >= coalesce(p_low[v_low + r.rank], 0)
                        AND (m.place < 2 OR m.until_ms <= v_now)
                    ORDER BY m.ready_ms, m.ticket LIMIT v_span
                    FOR UPDATE SKIP LOCKED
                ) AS m LIMIT v_span
            ) AS w;
            EXIT WHEN v_lapsed IS NULL;
            -- It stood where it was taken from, and belongs where its lease has ended, later
            -- than that: so nothing in between is missed by walking once more.
            PERFORM stem.let_lapse(v_lapsed);
            v_span := greatest(200, 2 * v_room);
        END LOOP;
        v_rows := v_rows || v_more[:v_room];
        v_frees := v_frees OR coalesce(v_some, false);
        EXIT WHEN cardinality(v_rows) >= p_limit;
    END LOOP;

    IF v_frees THEN
        v_rows := stem.set_free(p_ns, v_rows);
    END IF;
    IF v_rows <> '{}' THEN
        v_now := stem.now_ms(p_now);  -- a lease runs from now, however long a lock was waited for
        RETURN QUERY
            UPDATE stem.message m
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
                (SELECT m.ready_ms AS due FROM stem.message m
                WHERE m.ns = p_ns AND m.queue = q.queue AND m.rank = r.rank
                    AND m.held_ms IS NULL AND m.ready_ms > v_now
                ORDER BY m.ready_ms, m.ticket LIMIT 1)
                UNION ALL
                (SELECT min(m.until_ms) FROM stem.message m
                WHERE m.ns = p_ns AND m.queue = q.queue AND m.rank = r.rank
                    AND m.held_ms IS NULL AND m.ready_ms <= v_now AND m.place = 2
                    AND m.ready_ms >= coalesce(
                        p_low[10 * array_position(p_queues, q.queue) - 9 + r.rank], 0
                    ))
            ) AS f
            UNION ALL
            SELECT l.held_ms FROM (
                SELECT m.held_ms FROM stem.message m
                WHERE m.ns = p_ns AND m.queue = q.queue AND m.held_ms IS NOT NULL
                ORDER BY m.held_ms LIMIT 1
            ) AS l
        ) AS m;
        INSERT INTO stem.sleeper AS s (ns, until_ms, queue)
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
CREATE OR REPLACE FUNCTION stem.let_lapse(p_rows tid[]) RETURNS void LANGUAGE plpgsql
SET enable_seqscan = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    UPDATE stem.message m SET
        place = 0, ready_ms = m.until_ms, until_ms = NULL, held_ms = NULL, lapses = m.lapses + 1
    WHERE m.ctid = ANY (p_rows);
END
$$;

-- Free the unique keys that these rows hold until their first lease, and return the rows without
-- those whose key somebody has locked: they wait until he lets go, and no other does.
CREATE OR REPLACE FUNCTION stem.set_free(p_ns integer, p_rows tid[]) RETURNS tid[]
LANGUAGE plpgsql AS $$
DECLARE
    v_held tid[] := ARRAY(
        SELECT u.ctid FROM stem.message m CROSS JOIN LATERAL (
            SELECT u.ctid FROM stem.unique_key u
            WHERE u.ns = p_ns AND u.key = m.unique_key AND u.id = m.id AND u.keep_ms IS NULL
            FOR UPDATE SKIP LOCKED
        ) AS u
        WHERE m.ctid = ANY (p_rows) AND m.unique_kind = 2
    );
BEGIN
    DELETE FROM stem.unique_key u WHERE u.ctid = ANY (v_held);
    RETURN ARRAY(
        SELECT m.ctid FROM stem.message m WHERE m.ctid = ANY (p_rows) AND NOT (
            m.unique_kind = 2 AND EXISTS (
                SELECT FROM stem.unique_key u
                WHERE u.ns = p_ns AND u.key = m.unique_key AND u.id = m.id AND u.keep_ms IS NULL
            )
        )
    );
END
$$;

-- Where the first message stands in each rank of each queue, as p_low of `fetch`; two seconds ago
-- where there is none, for what was published since may not be seen yet.
--
-- passed  how many entries of the index were read for it
CREATE OR REPLACE FUNCTION stem.lowest(
    p_ns integer, p_now bigint, p_queues text[], p_low bigint[], OUT low bigint[], OUT passed bigint
) LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET enable_bitmapscan = off SET enable_sort = off SET jit = off
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    v_now bigint := stem.now_ms(p_now);
    v_index oid := 'stem.message_ready'::regclass;
BEGIN
    passed := pg_stat_get_xact_tuples_returned(v_index);
    low := ARRAY(
        SELECT least(v_now - 2000, (
            SELECT m.ready_ms FROM stem.message m
            WHERE m.ns = p_ns AND m.queue = q.queue AND m.rank = r.rank AND m.held_ms IS NULL
                AND m.ready_ms >= coalesce(p_low[10 * q.n - 9 + r.rank], 0)
            ORDER BY m.ready_ms, m.ticket LIMIT 1
        ))
        FROM unnest(p_queues) WITH ORDINALITY AS q (queue, n), generate_series(0, 9) AS r (rank)
        ORDER BY q.n, r.rank
    );
    passed := pg_stat_get_xact_tuples_returned(v_index) - passed;
END
$$;

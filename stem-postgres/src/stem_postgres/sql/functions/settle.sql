-- Broker.settle: each settlement with its record and follow-ups, or not at all.
--
-- Each array has one value for each settlement, as in settle_one; f_owner says whose a follow-up
-- is, from 1. p_record is NULL when none has a record.
-- returns  a row for each that is not done: its place in the call (from 1), status and detail
--
-- Most settlements acknowledge and nothing else: those are one statement for all of them.
--
-- What somebody has locked, a person or a transaction that stays open, is left for another time and
-- stops no other. To skip it costs each row a lock of its own; so at first all rows are taken as if
-- they were free, and only whoever has waited for one begins anew and skips.
CREATE OR REPLACE FUNCTION stem.settle(
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
    v_now bigint := stem.now_ms(p_now);
    v_done integer[] := '{}';
    v_looks boolean;
    v_waits integer := 0;
    v_patience text := current_setting('lock_timeout');
BEGIN
    IF (SELECT count(DISTINCT i.id) FROM unnest(p_id) AS i (id)) = cardinality(p_id) THEN
        -- Hardly ever is there a record before: only if there was one they are looked for.
        FOREACH v_looks IN ARRAY ARRAY[false, true] LOOP
            v_done := stem.acknowledge(
                v_looks, p_ns, v_now, p_always, p_id, p_fence, p_kind, p_record, r_fence,
                r_terminal, r_state, r_task, r_queue, r_keep, r_record, f_owner
            );
            EXIT WHEN v_done IS NOT NULL;
        END LOOP;
        v_done := coalesce(v_done, '{}');
        IF cardinality(v_done) = cardinality(p_id) THEN
            RETURN;
        END IF;
    END IF;
    IF p_always IS NOT TRUE THEN  -- a transaction of ours, of this one statement, or nobody is told
        PERFORM set_config('lock_timeout', '50ms', true);
    END IF;
    FOR n IN
        SELECT g.n FROM generate_series(1, cardinality(p_id)) AS g (n)
        WHERE g.n <> ALL (v_done) ORDER BY g.n
    LOOP
        status := 4;
        IF v_waits < 10 THEN
            BEGIN
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
                ) AS f, LATERAL stem.settle_one(
                    p_ns, v_now, p_always, p_id[n], p_fence[n], p_kind[n], p_after[n], p_reason[n],
                    p_error[n], p_attempt[n], coalesce(p_record[n], false), r_fence[n], r_terminal[n],
                    r_state[n], r_task[n], r_queue[n], r_keep[n], r_record[n],
                    f.id, f.queue, f.task, f.rank, f.lease, f.dedupe, f.digest, f.wait, f.at, f.kind,
                    f.key, f.win, f.more, f.body
                ) AS s;
            EXCEPTION WHEN lock_not_available THEN
                IF p_always THEN
                    RAISE;
                END IF;
                v_waits := v_waits + 1;
                status := 4;
            END;
        END IF;
        IF status <> 0 THEN
            RETURN NEXT;
        END IF;
    END LOOP;
    PERFORM set_config('lock_timeout', v_patience, true);
END
$$;

-- Do the plain acknowledgements whose leases hold; return their places in the call.
--
-- p_looks  look first for records that are there, and skip rows that are locked
-- returns  NULL when nothing was done because of one that was not looked for
CREATE OR REPLACE FUNCTION stem.acknowledge(
    p_looks boolean, p_ns integer, p_now bigint, p_always boolean, p_id text[],
    p_fence bigint[], p_kind text[], p_record boolean[], r_fence bigint[],
    r_terminal boolean[], r_state text[], r_task text[], r_queue text[], r_keep bigint[],
    r_record bytea[], f_owner integer[]
) RETURNS integer[] LANGUAGE plpgsql
SET lock_timeout = '50ms' SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
    v_plain integer[];
    v_first integer[];    -- of those with a record: it is the first of its task
    v_later integer[];    -- it replaces another
    v_rows tid[];
    v_done integer[];
    v_over text[];        -- whose end is told
    v_keys text[];
    v_holders text[];
BEGIN
    v_plain := ARRAY(
        SELECT i.n::integer FROM unnest(p_kind) WITH ORDINALITY AS i (kind, n)
        WHERE i.kind = 'a' AND (f_owner IS NULL OR i.n <> ALL (f_owner))
    );
    IF p_record IS NOT NULL AND p_looks THEN
        SELECT
            array_agg(i.n) FILTER (WHERE NOT p_record[i.n] OR k.r IS NULL OR NOT
                stem.stands_against(k.r, p_now, r_fence[i.n], r_record[i.n])),
            array_agg(i.n) FILTER (WHERE p_record[i.n] AND k.r IS NULL),
            array_agg(i.n) FILTER (WHERE p_record[i.n] AND k.r IS NOT NULL)
        INTO v_plain, v_first, v_later
        FROM unnest(v_plain) AS i (n) LEFT JOIN LATERAL (
            SELECT r FROM stem.record r WHERE r.ns = p_ns AND r.id = p_id[i.n] LIMIT 1
        ) AS k ON true;
        v_first := coalesce(v_first, '{}');
    END IF;
    IF p_looks THEN
        SELECT coalesce(array_agg(m.ctid), '{}'), coalesce(array_agg(i.n), '{}') INTO v_rows, v_done
        FROM unnest(v_plain) AS i (n) CROSS JOIN LATERAL (
            SELECT m.ctid FROM stem.message m
            WHERE m.ns = p_ns AND m.id = p_id[i.n] AND m.fence = p_fence[i.n]
                AND coalesce(m.settled, 0) < m.fence
            LIMIT 1 FOR UPDATE SKIP LOCKED
        ) AS m;
    ELSE
        SELECT coalesce(array_agg(m.ctid), '{}'), coalesce(array_agg(i.n), '{}') INTO v_rows, v_done
        FROM unnest(v_plain) AS i (n) CROSS JOIN LATERAL (
            SELECT m.ctid FROM stem.message m
            WHERE m.ns = p_ns AND m.id = p_id[i.n] AND m.fence = p_fence[i.n]
                AND coalesce(m.settled, 0) < m.fence
            LIMIT 1
        ) AS m;
    END IF;
    WITH gone AS (
        -- In one order, so that two calls never lock crosswise. The fence once more: a row that
        -- somebody was at is looked at anew when he has done.
        DELETE FROM stem.message m USING (
            SELECT r.at, r.n FROM unnest(v_rows, v_done) AS r (at, n) ORDER BY r.at
        ) AS i
        WHERE m.ctid = i.at AND m.fence = p_fence[i.n] AND coalesce(m.settled, 0) < m.fence
        RETURNING
            i.n, m.id, m.fence, p_now + m.dedupe_ms AS known_ms, m.digest, m.unique_key,
            -- Its record is the first of its task, and so becomes its stone.
            coalesce(p_record[i.n], false) AND (NOT p_looks OR i.n = ANY (v_first)) AS is_first
    ), records AS (
        INSERT INTO stem.record (
            ns, terminal, fence, keep_ms, id, state, task, queue, record, known_ms, digest, settled
        )
        SELECT
            p_ns, r_terminal[g.n], r_fence[g.n], p_now + r_keep[g.n], g.id, r_state[g.n],
            r_task[g.n], r_queue[g.n], r_record[g.n], g.known_ms, g.digest, g.fence
        FROM gone g WHERE g.is_first ORDER BY g.id COLLATE "C"
    ), stones AS (
        INSERT INTO stem.ended (keep_ms, fence, digest, ns, id)
        SELECT g.known_ms, g.fence, g.digest, p_ns, g.id
        FROM gone g WHERE NOT g.is_first AND g.known_ms > p_now
    )
    SELECT
        array_agg(g.n), array_agg(g.id) FILTER (
            WHERE g.is_first AND r_terminal[g.n]
        ),
        array_agg(g.unique_key) FILTER (WHERE g.unique_key IS NOT NULL),
        array_agg(g.id) FILTER (WHERE g.unique_key IS NOT NULL)
    -- Whom somebody was at in between is not among them: he takes his own turn.
    INTO v_done, v_over, v_keys, v_holders FROM gone g;
    IF v_over IS NOT NULL THEN
        PERFORM stem.tell_ended(p_ns, v_over, p_always);
    END IF;
    IF v_keys IS NOT NULL THEN
        PERFORM stem.let_go(p_ns, v_keys, v_holders);
    END IF;
    IF v_later <> '{}' THEN
        v_later := ARRAY(SELECT unnest(v_later) INTERSECT SELECT unnest(v_done));
    END IF;
    IF v_later <> '{}' THEN
        PERFORM stem.offer(
            p_ns, p_now, array_agg(p_id[i.n]), array_agg(r_fence[i.n]),
            array_agg(r_terminal[i.n]), array_agg(r_state[i.n]), array_agg(r_task[i.n]),
            array_agg(r_queue[i.n]), array_agg(r_keep[i.n]), array_agg(r_record[i.n]), p_always
        )
        FROM unnest(v_later) AS i (n);
    END IF;
    RETURN coalesce(v_done, '{}');
EXCEPTION WHEN unique_violation THEN
    -- One of the records is there, or somebody wrote it in between the look and this.
    RETURN NULL;
WHEN lock_not_available THEN
    RETURN CASE WHEN p_looks THEN '{}'::integer[] END;  -- each by itself, after the look
END
$$;

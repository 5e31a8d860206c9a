-- Keeping records: the fence decides, never the order of arrival.

-- Whether a record that is kept would have to stay as it is. One that is over is none.
CREATE OR REPLACE FUNCTION stem.stands_against(
    p_record stem.record, p_now bigint, p_fence bigint, p_data bytea
) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT p_record.keep_ms > p_now AND (
        p_record.fence > p_fence
        OR p_record.fence = p_fence AND p_record.terminal AND p_record.record <> p_data
    )
$$;

-- p_ns, now, then for each record: id, fence, whether it is terminal, state, task, queue,
-- milliseconds to keep it, and its JSON. The ids are all different.
-- returns  the ids whose records may not be saved; all others are, or were before
CREATE OR REPLACE FUNCTION stem.offer(
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
        INSERT INTO stem.record AS r (
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
                SELECT r.* FROM stem.record r WHERE r.ns = p_ns AND r.id = o.id LIMIT 1
            ) AS r
            WHERE o.id <> ALL (coalesce(v_kept, '{}'))
                AND (r.fence <> o.fence OR r.record <> o.record OR r.reopened)
        );
    END IF;
    PERFORM stem.tell_ended(p_ns, ARRAY(
        SELECT o.id FROM unnest(p_id, p_terminal) AS o (id, terminal)
        WHERE o.terminal AND o.id <> ALL (v_refused)
    ), p_always);
    RETURN v_refused;
END
$$;

-- Let the record of a replayed task be queued again, unless a newer fence has written.
-- returns whether there is one
CREATE OR REPLACE FUNCTION stem.reopen(
    p_ns integer, p_now bigint, p_id text, p_fence bigint
) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    UPDATE stem.record r SET reopened = true, terminal = false, state = 'queued'
    WHERE r.ns = p_ns AND r.id = p_id AND r.keep_ms > p_now AND r.fence <= p_fence;
    RETURN EXISTS (
        SELECT FROM stem.record r WHERE r.ns = p_ns AND r.id = p_id AND r.keep_ms > p_now
    );
END
$$;

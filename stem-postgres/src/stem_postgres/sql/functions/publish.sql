-- Broker.publish: accept messages, each whole or not at all, all of them in one step.
--
-- p_wait is a duration; p_at an instant, or 0 for none. Both in milliseconds.
-- returns  nothing when every one was created, else a row for each: its place in the call
--          (from 1), status as in admit, and holder
--
-- Hardly ever is an id known: all are written at once, and only if one was, one by one.
CREATE OR REPLACE FUNCTION stem.publish(
    p_ns integer, p_now bigint, p_always boolean,
    p_id text[], p_queue text[], p_task text[], p_rank smallint[], p_lease bigint[],
    p_dedupe bigint[], p_digest bigint[], p_wait bigint[], p_at bigint[], p_kind smallint[],
    p_key text[], p_window bigint[], p_more bytea[], p_body bytea[]
) RETURNS TABLE (n integer, status integer, detail text) LANGUAGE plpgsql
SET enable_seqscan = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
    v_now bigint := stem.now_ms(p_now);
    v_are_new boolean := false;
    v_lowest text;
    v_highest text;
    v_queue text;
    v_at bigint;
BEGIN
    IF 0 = ALL (p_kind) THEN
        BEGIN
            INSERT INTO stem.message (
                ns, rank, ready_ms, ticket, fence, base, lease_ms, dedupe_ms, digest,
                id, queue, task, more, body
            )
            SELECT
                p_ns, i.rank,
                greatest(v_now, CASE WHEN i.at > 0 THEN i.at ELSE v_now + i.wait END),
                i.ticket, i.ticket << 16, i.ticket << 16, i.lease, i.dedupe,
                i.digest, i.id, i.queue, i.task, nullif(i.more, ''), i.body
            FROM (
                SELECT u.*, nextval('stem.turn') AS ticket
                FROM unnest(
                    p_id, p_queue, p_task, p_rank, p_lease, p_dedupe, p_digest, p_wait, p_at,
                    p_more, p_body
                ) AS u (id, queue, task, rank, lease, dedupe, digest, wait, at, more, body)
            ) AS i ORDER BY i.id COLLATE "C";  -- two calls with the same ids never lock crosswise
            -- A new statement sees what others committed before they let this one write. Mostly
            -- the ids are made of the time, and none that is known lies among them: asked at once.
            SELECT min(i.id COLLATE "C"), max(i.id COLLATE "C") INTO v_lowest, v_highest
            FROM unnest(p_id) AS i (id);
            IF EXISTS (
                (SELECT FROM stem.ended e WHERE e.ns = p_ns
                    AND e.id BETWEEN v_lowest AND v_highest LIMIT 1)
                UNION ALL
                (SELECT FROM stem.dead d WHERE d.ns = p_ns
                    AND d.id BETWEEN v_lowest AND v_highest LIMIT 1)
                UNION ALL
                (SELECT FROM stem.record r WHERE r.ns = p_ns
                    AND r.id BETWEEN v_lowest AND v_highest LIMIT 1)
            ) AND EXISTS (
                SELECT FROM unnest(p_id) AS i (id) CROSS JOIN LATERAL (
                    (SELECT FROM stem.ended e WHERE e.ns = p_ns AND e.id = i.id LIMIT 1)
                    UNION ALL
                    (SELECT FROM stem.dead d WHERE d.ns = p_ns AND d.id = i.id LIMIT 1)
                    UNION ALL
                    (SELECT FROM stem.record r
                    WHERE r.ns = p_ns AND r.id = i.id AND r.known_ms > v_now LIMIT 1)
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
            PERFORM stem.rouse(p_ns, v_queue, v_at, p_always);
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
        ), LATERAL stem.admit(
            p_ns, v_now, i.id, i.queue, i.task, i.rank, i.lease, i.dedupe, i.digest, i.wait, i.at,
            i.kind, i.key, i.win, i.more, i.body, p_always
        ) AS a (reply);
END
$$;

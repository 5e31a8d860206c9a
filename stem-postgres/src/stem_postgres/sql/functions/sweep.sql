-- Clear away a piece of what is over, in one namespace. One worker at a time does it; what
-- somebody uses is left for the next time.
--
-- returns  how many rows went; as many as p_limit means that there may be more
CREATE OR REPLACE FUNCTION stem.sweep(p_ns integer, p_now bigint, p_limit integer)
RETURNS integer LANGUAGE plpgsql
SET enable_seqscan = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
    v_now bigint := stem.now_ms(p_now);
    v_count integer := 0;
    v_most integer := 0;
    v_table text;
BEGIN
    IF NOT pg_try_advisory_xact_lock(7314160, p_ns) THEN
        RETURN 0;
    END IF;
    WITH gone AS (
        DELETE FROM stem.dead d WHERE d.ctid = ANY (ARRAY(
            SELECT o.ctid FROM stem.dead o WHERE o.ns = p_ns AND o.keep_ms <= v_now
            ORDER BY o.keep_ms LIMIT p_limit FOR UPDATE SKIP LOCKED
        )) RETURNING d.id, d.fence, d.settled, d.digest, d.dedupe_ms
    ), stones AS (
        INSERT INTO stem.ended (ns, keep_ms, fence, settled, digest, id)
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
            'DELETE FROM stem.%1$I t WHERE t.ctid = ANY (ARRAY(SELECT o.ctid FROM stem.%1$I o '
            'WHERE o.ns = $1 AND %2$s <= $2 ORDER BY %2$s LIMIT $3 FOR UPDATE SKIP LOCKED))',
            v_table,
            CASE v_table WHEN 'record' THEN 'greatest(o.keep_ms, o.known_ms)' ELSE 'o.keep_ms' END
        ) USING p_ns, v_now, p_limit;
        GET DIAGNOSTICS v_count = ROW_COUNT;
        v_most := greatest(v_most, v_count);
    END LOOP;
    -- Fences grow without their rows. The minute is for who drew one, and stood still before he wrote.
    DELETE FROM stem.lock l WHERE l.ctid = ANY (ARRAY(
        SELECT o.ctid FROM stem.lock o WHERE o.ns = p_ns AND o.keep_ms <= v_now - 60000
        ORDER BY o.keep_ms LIMIT p_limit FOR UPDATE SKIP LOCKED
    ));
    -- Keys whose messages ended while somebody had them locked.
    DELETE FROM stem.unique_key u WHERE u.ctid = ANY (ARRAY(
        SELECT o.ctid FROM (
            SELECT l.key FROM stem.loose_key l WHERE l.ns = p_ns ORDER BY l.key LIMIT p_limit
        ) AS l CROSS JOIN LATERAL (
            SELECT u.ctid FROM stem.unique_key u
            WHERE u.ns = p_ns AND u.key = l.key
                AND stem.holder_of(p_ns, v_now, u.key, '') IS NULL
            FOR UPDATE SKIP LOCKED
        ) AS o
    ));
    DELETE FROM stem.loose_key l WHERE l.ctid = ANY (ARRAY(
        SELECT o.ctid FROM stem.loose_key o WHERE o.ns = p_ns AND NOT EXISTS (
            SELECT FROM stem.unique_key u WHERE u.ns = p_ns AND u.key = o.key
                AND stem.holder_of(p_ns, v_now, u.key, '') IS NULL
        ) LIMIT p_limit FOR UPDATE SKIP LOCKED
    ));
    DELETE FROM stem.control c WHERE c.ns = p_ns AND c.at_ms <= v_now - 60000;
    DELETE FROM stem.waiter w WHERE w.ns = p_ns AND w.until_ms <= v_now;
    DELETE FROM stem.sleeper s WHERE s.ns = p_ns AND s.until_ms <= v_now;
    RETURN v_most;
END
$$;

-- Broker.extend: let leases run anew from now. Changes no fence and no counter.
--
-- returns  for each its place in the call (from 1), 0 lost, 1 held, 2 held and to be cancelled;
--          what is left of the lease, and why to cancel
--
-- A row that somebody has locked, most likely its own handler, counts as held as it is.
CREATE OR REPLACE FUNCTION stem.extend(
    p_ns integer, p_now bigint, p_id text[], p_fence bigint[], p_lease bigint[]
) RETURNS TABLE (n integer, status integer, left_ms bigint, reason text) LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
    v_now bigint := stem.now_ms(p_now);
    v_rows tid[];
BEGIN
    v_rows := ARRAY(
        SELECT m.ctid FROM unnest(p_id, p_fence) AS x (id, fence) CROSS JOIN LATERAL (
            SELECT m.ctid FROM stem.message m
            WHERE m.ns = p_ns AND m.id = x.id AND m.fence = x.fence AND coalesce(m.settled, 0) < m.fence
            LIMIT 1 FOR UPDATE SKIP LOCKED
        ) AS m
    );
    v_now := stem.now_ms(p_now);  -- however long a lock was waited for
    -- From now on `fetch` need not pass by it.
    UPDATE stem.message m
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
            SELECT m.* FROM stem.message m
            WHERE m.ns = p_ns AND m.id = x.id AND m.fence = x.fence AND coalesce(m.settled, 0) < m.fence
            LIMIT 1
        ) AS m ON true
        ORDER BY x.n;
END
$$;

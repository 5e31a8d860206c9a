-- LimitStore.acquire: one unit of every limit, or of none. A rate is exact: no window has more
-- starts. The keys are all different.
--
-- returns  0 when granted, else milliseconds to wait
CREATE OR REPLACE FUNCTION stem.acquire(
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
    v_now := stem.now_ms(p_now);
    FOR i IN 1 .. cardinality(p_key) LOOP
        IF p_rate[i] > 0 THEN
            SELECT s.at_ms INTO v_at FROM stem.start s
            WHERE s.ns = p_ns AND s.key = p_key[i] AND s.at_ms > v_now - p_per[i]
            ORDER BY s.at_ms DESC OFFSET p_rate[i] - 1 LIMIT 1;
            IF FOUND THEN
                v_wait := greatest(v_wait, v_at + p_per[i] - v_now);
            END IF;
        END IF;
        IF p_concurrent[i] > 0 AND NOT EXISTS (
            SELECT FROM stem.holder h WHERE h.ns = p_ns AND h.key = p_key[i]
                AND h.holder = p_holder AND h.keep_ms > v_now
        ) THEN
            SELECT min(h.keep_ms) INTO v_at FROM stem.holder h
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
            INSERT INTO stem.start (ns, at_ms, keep_ms, key)
            VALUES (p_ns, v_now, v_now + p_per[i], p_key[i]);
        END IF;
        IF p_concurrent[i] > 0 THEN
            INSERT INTO stem.holder (ns, keep_ms, key, holder)
            VALUES (p_ns, v_now + p_lease, p_key[i], p_holder)
            ON CONFLICT (ns, key, holder) DO UPDATE SET keep_ms = excluded.keep_ms;
        END IF;
    END LOOP;
    RETURN 0;
END
$$;

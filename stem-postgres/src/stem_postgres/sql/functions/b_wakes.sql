-- Telling whoever waits. A notification takes a lock that all commits of the database share, so
-- nobody is told unless somebody waits; who was told takes the note away, and who looks again and
-- finds nothing leaves a new one.

-- p_ns, p_queue, p_at: work of this queue can be taken at p_at. With p_always it is told unseen:
-- a transaction of the caller may commit long after this look.
CREATE OR REPLACE FUNCTION stem.rouse(
    p_ns integer, p_queue text, p_at bigint, p_always boolean DEFAULT false
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF NOT p_always THEN
        -- Of many that see the note at once one takes it, and he alone tells.
        DELETE FROM stem.sleeper s WHERE s.ns = p_ns AND s.queue IN (
            SELECT d.queue FROM stem.sleeper d
            WHERE d.ns = p_ns AND d.queue = p_queue AND d.until_ms > p_at
            FOR UPDATE SKIP LOCKED
        );
        IF NOT FOUND THEN
            RETURN;
        END IF;
    END IF;
    PERFORM pg_notify(n.channel, 'q' || md5(p_queue)) FROM stem.namespace n WHERE n.ns = p_ns;
END
$$;

-- p_ns, p_ids: these tasks have ended.
CREATE OR REPLACE FUNCTION stem.tell_ended(
    p_ns integer, p_ids text[], p_always boolean DEFAULT false
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_ids text[] := p_ids;
BEGIN
    IF NOT p_always THEN
        IF NOT EXISTS (SELECT FROM stem.waiter w WHERE w.ns = p_ns) THEN
            RETURN;
        END IF;
        SELECT array_agg(w.id) INTO v_ids FROM stem.waiter w WHERE w.ns = p_ns AND w.id = ANY (p_ids);
        IF v_ids IS NULL THEN
            RETURN;
        END IF;
        DELETE FROM stem.waiter w WHERE w.ns = p_ns AND w.id IN (
            SELECT d.id FROM stem.waiter d WHERE d.ns = p_ns AND d.id = ANY (v_ids)
            FOR UPDATE SKIP LOCKED
        );
    END IF;
    PERFORM pg_notify(n.channel, 'r' || md5(i.id))
    FROM stem.namespace n, unnest(v_ids) AS i (id) WHERE n.ns = p_ns;
END
$$;

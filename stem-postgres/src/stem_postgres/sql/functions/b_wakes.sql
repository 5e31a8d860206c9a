-- Telling whoever waits. A notification takes a lock that all commits of the database share, so
-- nobody is told unless somebody waits; who was told takes the note away, and who looks again and
-- finds nothing leaves a new one.
--
-- p_always  also whoever falls asleep before the caller commits, at a time of his own: that is looked
--           for by the commit. NULL: nobody

-- p_ns, p_queue, p_at: work of this queue can be taken at p_at.
CREATE OR REPLACE FUNCTION stem.rouse(
    p_ns integer, p_queue text, p_at bigint, p_always boolean DEFAULT false
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF p_always IS NULL THEN
        RETURN;
    ELSIF p_always THEN
        PERFORM stem.tell_later(p_ns, p_at, p_queue, NULL);
        RETURN;
    END IF;
    -- Of many that see the note at once one takes it, and he alone tells.
    DELETE FROM stem.sleeper s WHERE s.ns = p_ns AND s.queue IN (
        SELECT d.queue FROM stem.sleeper d
        WHERE d.ns = p_ns AND d.queue = p_queue AND d.until_ms > p_at
        FOR UPDATE SKIP LOCKED
    );
    IF FOUND THEN
        PERFORM stem.tell(p_ns, 'q', p_queue);
    END IF;
END
$$;

-- p_ns, p_ids: these tasks have ended.
CREATE OR REPLACE FUNCTION stem.tell_ended(
    p_ns integer, p_ids text[], p_always boolean DEFAULT false
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_ids text[];
BEGIN
    IF p_always IS NULL THEN
        RETURN;
    ELSIF p_always THEN
        PERFORM stem.tell_later(p_ns, NULL, NULL, i.id) FROM unnest(p_ids) AS i (id);
        RETURN;
    END IF;
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
    PERFORM stem.tell(p_ns, 'r', i.id) FROM unnest(v_ids) AS i (id);
END
$$;

CREATE OR REPLACE FUNCTION stem.tell(p_ns integer, p_kind text, p_name text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify(n.channel, p_kind || md5(p_name)) FROM stem.namespace n WHERE n.ns = p_ns;
END
$$;

-- ── by the commit of a transaction of the caller's ───────────────────────────

CREATE OR REPLACE FUNCTION stem.tell_later(p_ns integer, p_at bigint, p_queue text, p_id text)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_row tid;
BEGIN
    INSERT INTO stem.untold AS u (ns, at_ms, queue, id) VALUES (p_ns, p_at, p_queue, p_id)
    RETURNING u.ctid INTO v_row;
    DELETE FROM stem.untold u WHERE u.ctid = v_row;
END
$$;

CREATE OR REPLACE FUNCTION stem.tell_untold() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        -- It sees no note that was left since it began.
        PERFORM stem.tell(
            new.ns, CASE WHEN new.queue IS NULL THEN 'r' ELSE 'q' END, coalesce(new.queue, new.id)
        );
    ELSIF new.queue IS NULL THEN
        PERFORM stem.tell_ended(new.ns, ARRAY[new.id]);
    ELSE
        PERFORM stem.rouse(new.ns, new.queue, new.at_ms);
    END IF;
    RETURN NULL;
END
$$;

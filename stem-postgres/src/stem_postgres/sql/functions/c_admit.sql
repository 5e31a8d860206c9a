-- Accepting one message, or saying why not. Written first and looked at afterwards: who publishes
-- the same id at the same moment waits for this one, and then sees it.
--
-- p_wait is a duration; p_at an instant, or 0 for none. Both in milliseconds.
-- returns  0 created, 1 duplicate, 3 conflict; or 2 unique, and behind that digit the holder

-- What was a message of this id and is remembered: its digest, or nothing.
CREATE OR REPLACE FUNCTION stem.past_digest(p_ns integer, p_now bigint, p_id text) RETURNS bigint
LANGUAGE plpgsql STABLE SET enable_seqscan = off AS $$
BEGIN
    RETURN (
        SELECT e.digest FROM stem.ended e WHERE e.ns = p_ns AND e.id = p_id AND e.keep_ms > p_now
        UNION ALL
        SELECT d.digest FROM stem.dead d WHERE d.ns = p_ns AND d.id = p_id AND d.keep_ms > p_now
        UNION ALL
        SELECT r.digest FROM stem.record r WHERE r.ns = p_ns AND r.id = p_id AND r.known_ms > p_now
        LIMIT 1
    );
END
$$;

-- Who holds a unique key, other than p_id for as long as that lives. One that is held until its
-- message lets go is free when that is gone: who ended it may have found the key locked.
CREATE OR REPLACE FUNCTION stem.holder_of(
    p_ns integer, p_now bigint, p_key text, p_id text
) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RETURN (
        SELECT u.id FROM stem.unique_key u
        WHERE u.ns = p_ns AND u.key = p_key AND CASE
            WHEN u.keep_ms IS NULL THEN u.id <> p_id AND EXISTS (
                SELECT FROM stem.message m
                WHERE m.ns = p_ns AND m.id = u.id AND m.unique_key = p_key
            )
            ELSE u.keep_ms > p_now
        END
    );
END
$$;

-- Take a unique key; NULL when it is taken, else who holds it. Who finds a holder locks nothing:
-- the caller may keep its transaction open for long, and the holder must be able to end.
CREATE OR REPLACE FUNCTION stem.claim(
    p_ns integer, p_now bigint, p_key text, p_id text, p_keep bigint
) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    v_holder text;
BEGIN
    LOOP
        INSERT INTO stem.unique_key AS u (ns, keep_ms, key, id) VALUES (p_ns, p_keep, p_key, p_id)
        ON CONFLICT (ns, key) DO NOTHING;
        IF FOUND THEN
            RETURN NULL;
        END IF;
        v_holder := stem.holder_of(p_ns, p_now, p_key, p_id);
        IF v_holder IS NOT NULL THEN
            RETURN v_holder;
        END IF;
        -- It is left over, and of many who see that one takes it: so a second look behind a lock.
        PERFORM FROM stem.unique_key u WHERE u.ns = p_ns AND u.key = p_key FOR UPDATE;
        CONTINUE WHEN NOT FOUND;  -- it was freed in between
        v_holder := stem.holder_of(p_ns, p_now, p_key, p_id);
        IF v_holder IS NULL THEN
            UPDATE stem.unique_key u SET keep_ms = p_keep, id = p_id
            WHERE u.ns = p_ns AND u.key = p_key;
        END IF;
        RETURN v_holder;
    END LOOP;
END
$$;

CREATE OR REPLACE FUNCTION stem.admit(
    p_ns integer, p_now bigint, p_id text, p_queue text, p_task text, p_rank smallint,
    p_lease bigint, p_dedupe bigint, p_digest bigint, p_wait bigint, p_at bigint, p_kind smallint,
    p_key text, p_window bigint, p_more bytea, p_body bytea, p_always boolean
) RETURNS text LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off AS $$
DECLARE
    v_ticket bigint;
    v_known bigint;
    v_is_left boolean;  -- of an id that may be forgotten, in `ended` or `dead`
    v_is_awaited boolean;
    v_holder text;
    v_ready bigint := greatest(p_now, CASE WHEN p_at > 0 THEN p_at ELSE p_now + p_wait END);
BEGIN
    LOOP
        v_ticket := nextval('stem.turn');
        INSERT INTO stem.message (
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
        SELECT m.digest INTO v_known FROM stem.message m WHERE m.ns = p_ns AND m.id = p_id;
        IF FOUND THEN
            RETURN CASE WHEN v_known = p_digest THEN '1' ELSE '3' END;
        END IF;
    END LOOP;  -- it ended in between

    SELECT
        e.id IS NOT NULL OR d.id IS NOT NULL, s.queue IS NOT NULL,
        CASE
            WHEN e.keep_ms > p_now THEN e.digest
            WHEN d.keep_ms > p_now THEN d.digest
            WHEN r.known_ms > p_now THEN r.digest
        END
    INTO v_is_left, v_is_awaited, v_known
    FROM (SELECT) AS one
    LEFT JOIN stem.ended e ON e.ns = p_ns AND e.id = p_id
    LEFT JOIN stem.dead d ON d.ns = p_ns AND d.id = p_id
    LEFT JOIN stem.record r ON r.ns = p_ns AND r.id = p_id
    LEFT JOIN stem.sleeper s ON s.ns = p_ns AND s.queue = p_queue AND s.until_ms > v_ready;
    IF v_known IS NOT NULL THEN
        DELETE FROM stem.message m WHERE m.ns = p_ns AND m.id = p_id;
        RETURN CASE WHEN v_known = p_digest THEN '1' ELSE '3' END;
    ELSIF v_is_left THEN
        -- An id that lives is in no other table: who ends it need not look.
        -- A sweep may be making the one into the other, and is waited for: so first that one.
        DELETE FROM stem.dead d WHERE d.ns = p_ns AND d.id = p_id;
        DELETE FROM stem.ended e WHERE e.ns = p_ns AND e.id = p_id;
    END IF;

    IF p_kind > 0 THEN
        v_holder := stem.claim(
            p_ns, p_now, p_key, p_id, CASE WHEN p_kind = 3 THEN p_now + p_window END
        );
        IF v_holder IS NOT NULL THEN
            DELETE FROM stem.message m WHERE m.ns = p_ns AND m.id = p_id;
            RETURN '2' || v_holder;
        END IF;
    END IF;
    IF p_always OR v_is_awaited THEN
        PERFORM stem.rouse(p_ns, p_queue, v_ready, p_always);
    END IF;
    RETURN '0';
END
$$;

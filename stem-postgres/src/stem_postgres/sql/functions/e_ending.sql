-- What becomes of a message when it ends, and of what asks for one that has.

-- Say why a receipt settles nothing: 1 already, 2 stale, 3 gone.
CREATE OR REPLACE FUNCTION stem.refusal(
    p_ns integer, p_now bigint, p_id text, p_fence bigint
) RETURNS integer LANGUAGE plpgsql STABLE SET enable_seqscan = off AS $$
BEGIN
    RETURN coalesce((
        SELECT CASE WHEN k.settled = p_fence THEN 1 ELSE 2 END FROM (
            SELECT m.settled FROM stem.message m WHERE m.ns = p_ns AND m.id = p_id
            UNION ALL
            SELECT d.settled FROM stem.dead d
            WHERE d.ns = p_ns AND d.id = p_id AND d.keep_ms > p_now
            UNION ALL
            SELECT coalesce(e.settled, e.fence) FROM stem.ended e
            WHERE e.ns = p_ns AND e.id = p_id AND e.keep_ms > p_now
            UNION ALL
            SELECT r.settled FROM stem.record r
            WHERE r.ns = p_ns AND r.id = p_id AND r.known_ms > p_now
        ) AS k LIMIT 1
    ), 3);
END
$$;

-- Free the unique keys that messages hold until they end; each key beside its id. One that somebody
-- has locked is not waited for: it is free without its message, and noted for a sweep.
CREATE OR REPLACE FUNCTION stem.let_go(p_ns integer, p_key text[], p_id text[]) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM stem.unique_key u WHERE u.ctid = ANY (ARRAY(
        SELECT k.ctid FROM unnest(p_key, p_id) AS i (key, id) CROSS JOIN LATERAL (
            SELECT u.ctid FROM stem.unique_key u
            WHERE u.ns = p_ns AND u.key = i.key AND u.id = i.id AND u.keep_ms IS NULL
            FOR UPDATE SKIP LOCKED
        ) AS k
    ));
    INSERT INTO stem.loose_key (ns, key)
    SELECT p_ns, u.key FROM unnest(p_key, p_id) AS i (key, id) CROSS JOIN LATERAL (
        SELECT u.key FROM stem.unique_key u
        WHERE u.ns = p_ns AND u.key = i.key AND u.id = i.id AND u.keep_ms IS NULL
    ) AS u
    ON CONFLICT (ns, key) DO UPDATE SET key = excluded.key;  -- a sweep that removes it would go first
END
$$;

-- Leave only the id of what has ended, for as long as it asked.
CREATE OR REPLACE FUNCTION stem.remember(
    p_ns integer, p_keep bigint, p_fence bigint, p_settled bigint, p_digest bigint, p_id text
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO stem.ended (ns, keep_ms, fence, settled, digest, id)
    VALUES (p_ns, p_keep, p_fence, nullif(coalesce(p_settled, 0), p_fence), p_digest, p_id)
    ON CONFLICT (ns, id) DO UPDATE SET
        keep_ms = excluded.keep_ms, fence = excluded.fence, settled = excluded.settled,
        digest = excluded.digest;
END
$$;

-- End a message: remove it, free its key, remember its id.
CREATE OR REPLACE FUNCTION stem.finish(
    p_message stem.message, p_now bigint, p_settled bigint
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM stem.message m WHERE m.ns = p_message.ns AND m.id = p_message.id;
    IF p_message.dedupe_ms > 0 THEN
        PERFORM stem.remember(
            p_message.ns, p_now + p_message.dedupe_ms, p_message.fence, p_settled,
            p_message.digest, p_message.id
        );
    END IF;
    IF p_message.unique_key IS NOT NULL THEN
        PERFORM stem.let_go(
            p_message.ns, ARRAY[p_message.unique_key], ARRAY[p_message.id]
        );
    END IF;
END
$$;

-- BrokerAdmin.replay and discard: dead letters back to ready, or gone for good.
--
-- returns  for each its place in the call (from 1), 0 done, 1 already, 2 unknown, 3 unique; and
--          the fence when done

CREATE OR REPLACE FUNCTION stem.replay(p_ns integer, p_now bigint, p_id text[])
RETURNS TABLE (n integer, status integer, fence bigint) LANGUAGE plpgsql
SET enable_seqscan = off SET jit = off AS $$
#variable_conflict use_column
DECLARE
    v_now bigint := stem.now_ms(p_now);
    v_dead stem.dead;
    v_holder text;
BEGIN
    FOR n IN 1 .. cardinality(p_id) LOOP
        fence := 0;
        SELECT d.* INTO v_dead FROM stem.dead d
        WHERE d.ns = p_ns AND d.id = p_id[n] AND d.keep_ms > v_now FOR UPDATE;
        IF NOT FOUND THEN
            status := CASE WHEN EXISTS (
                SELECT FROM stem.message m WHERE m.ns = p_ns AND m.id = p_id[n]
            ) THEN 1 ELSE 2 END;
            RETURN NEXT;
            CONTINUE;
        END IF;
        v_holder := NULL;
        IF v_dead.unique_kind IN (1, 2) THEN
            v_holder := stem.claim(p_ns, v_now, v_dead.unique_key, v_dead.id, NULL);
        ELSIF v_dead.unique_kind = 3 THEN
            SELECT u.id INTO v_holder FROM stem.unique_key u
            WHERE u.ns = p_ns AND u.key = v_dead.unique_key AND u.keep_ms > v_now;
        END IF;
        status := 3;
        IF v_holder IS NULL OR v_holder = v_dead.id THEN
            status := 0;
            fence := v_dead.fence;
            DELETE FROM stem.dead d WHERE d.ns = p_ns AND d.id = v_dead.id;
            INSERT INTO stem.message (
                ns, rank, unique_kind, ready_ms, ticket, fence, base, settled, lease_ms,
                dedupe_ms, digest, window_ms, releases, id, queue, task, unique_key, errors,
                more, body
            ) VALUES (
                p_ns, v_dead.rank, v_dead.unique_kind, v_now, nextval('stem.turn'), v_dead.fence,
                v_dead.base, v_dead.settled, v_dead.lease_ms, v_dead.dedupe_ms, v_dead.digest,
                v_dead.window_ms, v_dead.releases, v_dead.id, v_dead.queue, v_dead.task,
                v_dead.unique_key, v_dead.errors, v_dead.more, v_dead.body
            );
            PERFORM stem.reopen(p_ns, v_now, v_dead.id, v_dead.fence);
            PERFORM stem.rouse(p_ns, v_dead.queue, v_now);
        END IF;
        RETURN NEXT;
    END LOOP;
END
$$;

CREATE OR REPLACE FUNCTION stem.discard(p_ns integer, p_now bigint, p_id text[])
RETURNS TABLE (n integer, status integer, fence bigint) LANGUAGE plpgsql
SET enable_seqscan = off SET jit = off AS $$
#variable_conflict use_column
DECLARE
    v_now bigint := stem.now_ms(p_now);
    v_dead stem.dead;
BEGIN
    FOR n IN 1 .. cardinality(p_id) LOOP
        fence := 0;
        DELETE FROM stem.dead d WHERE d.ns = p_ns AND d.id = p_id[n] AND d.keep_ms > v_now
        RETURNING d.* INTO v_dead;
        IF FOUND THEN
            status := 0;
            fence := v_dead.fence;
            IF v_dead.dedupe_ms > 0 THEN
                PERFORM stem.remember(
                    p_ns, v_now + v_dead.dedupe_ms, v_dead.fence, v_dead.settled,
                    v_dead.digest, v_dead.id
                );
            END IF;
        ELSE
            status := CASE WHEN EXISTS (
                SELECT FROM stem.message m WHERE m.ns = p_ns AND m.id = p_id[n]
            ) THEN 1 ELSE 2 END;
        END IF;
        RETURN NEXT;
    END LOOP;
END
$$;

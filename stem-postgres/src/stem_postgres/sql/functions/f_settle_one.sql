-- One settlement that does more than to acknowledge. Everything is checked before it writes.
--
-- p_kind   a acknowledge · t retry · b bury · l release · p the same, parked · s the same, snoozed
--          h hand back what a cancelled fetch took · i nothing: it can never be kept
-- p_after  milliseconds: to wait, or with b to keep it
-- p_record whether there is one: the r_ that follow
-- f_       its follow-ups, as for publish
-- status   0 done, 1 already, 2 stale, 3 gone, 4 somebody has locked it, 5 invalid; detail names
--          the follow-up
CREATE OR REPLACE FUNCTION stem.settle_one(
    p_ns integer, p_now bigint, p_always boolean, p_id text, p_fence bigint, p_kind text,
    p_after bigint, p_reason text, p_error bytea, p_attempt integer,
    p_record boolean, r_fence bigint, r_terminal boolean, r_state text, r_task text,
    r_queue text, r_keep bigint, r_record bytea,
    f_id text[], f_queue text[], f_task text[], f_rank smallint[], f_lease bigint[],
    f_dedupe bigint[], f_digest bigint[], f_wait bigint[], f_at bigint[], f_kind smallint[],
    f_key text[], f_window bigint[], f_more bytea[], f_body bytea[],
    OUT status integer, OUT detail text
) LANGUAGE plpgsql
SET enable_seqscan = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
    v_message stem.message;
    v_errors bytea[];
    v_known bigint;
BEGIN
    detail := '';
    IF p_always THEN  -- the caller's own transaction keeps nobody else waiting
        SELECT m.* INTO v_message FROM stem.message m
        WHERE m.ns = p_ns AND m.id = p_id AND m.fence = p_fence
            AND coalesce(m.settled, 0) < m.fence FOR UPDATE;
    ELSE
        SELECT m.* INTO v_message FROM stem.message m
        WHERE m.ns = p_ns AND m.id = p_id AND m.fence = p_fence
            AND coalesce(m.settled, 0) < m.fence FOR UPDATE SKIP LOCKED;
    END IF;
    IF v_message.id IS NULL THEN
        status := CASE WHEN EXISTS (
            SELECT FROM stem.message m WHERE m.ns = p_ns AND m.id = p_id AND m.fence = p_fence
                AND coalesce(m.settled, 0) < m.fence
        ) THEN 4 ELSE stem.refusal(p_ns, p_now, p_id, p_fence) END;
        RETURN;
    END IF;
    status := 5;
    IF p_kind = 'i' THEN
        RETURN;
    END IF;
    FOR i IN 1 .. coalesce(cardinality(f_id), 0) LOOP
        SELECT m.digest INTO v_known FROM stem.message m WHERE m.ns = p_ns AND m.id = f_id[i];
        v_known := coalesce(v_known, stem.past_digest(p_ns, p_now, f_id[i]));
        IF v_known <> f_digest[i] THEN
            detail := f_id[i];
            RETURN;
        END IF;
    END LOOP;
    IF p_record AND stem.offer(
        p_ns, p_now, ARRAY[p_id], ARRAY[r_fence], ARRAY[r_terminal], ARRAY[r_state],
        ARRAY[r_task], ARRAY[r_queue], ARRAY[r_keep], ARRAY[r_record], p_always
    ) <> '{}' THEN
        status := 2;
        RETURN;
    END IF;

    v_errors := v_message.errors;
    IF p_error <> '' THEN
        v_errors := coalesce(v_errors, '{}') || p_error;
        v_errors := v_errors[greatest(1, cardinality(v_errors) - 19):];
    END IF;
    IF p_kind = 'a' THEN
        PERFORM stem.finish(v_message, p_now, p_fence);
    ELSIF p_kind = 'b' THEN
        PERFORM stem.bury(
            v_message, p_now, p_after, p_reason, v_errors, greatest(v_message.failed, p_attempt)
        );
    ELSE
        PERFORM stem.come_back(v_message, p_now, p_kind, p_after, v_errors, p_always);
    END IF;

    FOR i IN 1 .. coalesce(cardinality(f_id), 0) LOOP
        PERFORM stem.admit(
            p_ns, p_now, f_id[i], f_queue[i], f_task[i], f_rank[i], f_lease[i], f_dedupe[i],
            f_digest[i], f_wait[i], f_at[i], f_kind[i], f_key[i], f_window[i], f_more[i],
            f_body[i], p_always
        );
    END LOOP;
    status := 0;
END
$$;

-- Let a message die: it is kept whole, apart from live work.
CREATE OR REPLACE FUNCTION stem.bury(
    p_message stem.message, p_now bigint, p_keep bigint, p_reason text, p_errors bytea[],
    p_failed integer
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_dead stem.message := p_message;
BEGIN
    v_dead.ticket := nextval('stem.turn');
    v_dead.settled := p_message.fence;
    v_dead.lapses := 0;
    v_dead.until_ms := NULL;
    v_dead.held_ms := NULL;
    v_dead.errors := p_errors;
    v_dead.failed := p_failed;
    DELETE FROM stem.message m WHERE m.ns = p_message.ns AND m.id = p_message.id;
    DELETE FROM stem.dead d WHERE d.ns = p_message.ns AND d.id = p_message.id;
    INSERT INTO stem.dead SELECT v_dead.*, p_reason, p_now, p_now + p_keep;
    IF p_message.unique_key IS NOT NULL THEN
        PERFORM stem.let_go(
            p_message.ns, ARRAY[p_message.unique_key], ARRAY[p_message.id]
        );
    END IF;
END
$$;

-- Let a message wait again, or be ready at once: after a retry behind all others, after a
-- release at its old turn, after a hand-back as if it had never been taken but for its fence.
CREATE OR REPLACE FUNCTION stem.come_back(
    p_message stem.message, p_now bigint, p_kind text, p_after bigint, p_errors bytea[],
    p_always boolean
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_is_new_turn boolean := p_after > 0 OR p_kind = 't';
    v_ready bigint := CASE WHEN v_is_new_turn THEN p_now + p_after ELSE p_message.ready_ms END;
BEGIN
    UPDATE stem.message m SET
        place = CASE p_kind WHEN 'p' THEN 1 ELSE 0 END,
        ready_ms = v_ready,
        ticket = CASE WHEN v_is_new_turn THEN nextval('stem.turn') ELSE m.ticket END,
        until_ms = NULL,
        held_ms = NULL,
        settled = m.fence,
        lapses = CASE p_kind WHEN 'h' THEN m.lapses ELSE 0 END,
        failed = m.failed + CASE p_kind WHEN 't' THEN 1 ELSE 0 END,
        releases = m.releases + CASE WHEN p_kind IN ('t', 'h') THEN 0 ELSE 1 END,
        parked_ms = CASE
            WHEN p_kind IN ('t', 's') THEN NULL
            WHEN p_kind = 'p' THEN coalesce(m.parked_ms, p_now)
            ELSE m.parked_ms
        END,
        errors = p_errors
    WHERE m.ns = p_message.ns AND m.id = p_message.id;
    IF p_kind = 'h' AND p_message.unique_kind = 2 AND p_message.fence = p_message.base + 1 THEN
        PERFORM stem.claim(
            p_message.ns, p_now, p_message.unique_key, p_message.id, NULL
        );
    END IF;
    PERFORM stem.rouse(p_message.ns, p_message.queue, v_ready, p_always);
END
$$;

-- Broker.cancel: what waits ends with its record, what runs is marked.
--
-- p_waiting  leave alone what runs: for a purge
-- returns    for each its place in the call (from 1), 0 cancelled, 1 requested, 2 finished,
--            3 unknown; and with 0 the message and its fence
CREATE OR REPLACE FUNCTION stem.cancel(
    p_ns integer, p_now bigint, p_waiting boolean, p_id text[], p_reason text[],
    p_record boolean[], r_terminal boolean[], r_state text[], r_task text[], r_queue text[],
    r_keep bigint[], r_record bytea[]
) RETURNS TABLE (
    n integer, status integer, fence bigint, id text, queue text, task text, rank smallint,
    lease_ms bigint, dedupe_ms bigint, more bytea, body bytea
) LANGUAGE plpgsql
-- Who holds a row this long is its own handler, in a transaction that is about to end it.
SET lock_timeout = '1s' SET enable_seqscan = off SET jit = off
SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
    v_now bigint := stem.now_ms(p_now);
    v_message stem.message;
BEGIN
    FOR n IN 1 .. cardinality(p_id) LOOP
        fence := NULL; id := NULL; queue := NULL; task := NULL; rank := NULL;
        lease_ms := NULL; dedupe_ms := NULL; more := NULL; body := NULL;
        v_message := NULL;
        BEGIN
            SELECT m.* INTO v_message FROM stem.message m
            WHERE m.ns = p_ns AND m.id = p_id[n] FOR UPDATE;
        EXCEPTION WHEN lock_not_available THEN
            status := 1;
            RETURN NEXT;
            CONTINUE;
        END;
        IF v_message.id IS NULL THEN
            status := CASE WHEN stem.past_digest(p_ns, v_now, p_id[n]) IS NULL THEN 3 ELSE 2 END;
        ELSIF v_message.place = 2 THEN
            status := 1;
            IF NOT p_waiting THEN
                UPDATE stem.message m SET cancel_reason = p_reason[n]
                WHERE m.ns = p_ns AND m.id = p_id[n];
            END IF;
        ELSE
            status := 0;
            fence := v_message.fence; id := v_message.id; queue := v_message.queue;
            task := v_message.task; rank := v_message.rank; lease_ms := v_message.lease_ms;
            dedupe_ms := v_message.dedupe_ms; more := v_message.more; body := v_message.body;
            PERFORM stem.finish(v_message, v_now, v_message.settled);
            IF p_record[n] THEN
                PERFORM stem.offer(
                    p_ns, v_now, ARRAY[p_id[n]], ARRAY[v_message.fence], ARRAY[r_terminal[n]],
                    ARRAY[r_state[n]], ARRAY[r_task[n]], ARRAY[r_queue[n]], ARRAY[r_keep[n]],
                    ARRAY[r_record[n]], false
                );
            END IF;
        END IF;
        RETURN NEXT;
    END LOOP;
END
$$;

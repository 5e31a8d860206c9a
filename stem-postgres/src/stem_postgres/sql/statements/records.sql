-- ResultBackend

-- name: load
-- ns, now, ids
SELECT r.id, r.fence, r.reopened, r.record FROM stem.record r
WHERE r.ns = %s::int AND r.keep_ms > stem.now_ms(%s::bigint) AND r.id = ANY (%b::text[]);

-- name: ended
-- ns, now, id -> its terminal record
SELECT r.id, r.fence, r.reopened, r.record FROM stem.record r
WHERE r.ns = %s::int AND r.keep_ms > stem.now_ms(%s::bigint) AND r.id = %s AND r.terminal;

-- name: note_waiter
-- ns, until, id
INSERT INTO stem.waiter AS w (ns, until_ms, id) VALUES (%s::int, %s::bigint, %s)
ON CONFLICT (ns, id) DO UPDATE SET until_ms = greatest(w.until_ms, excluded.until_ms);

-- name: list
-- ns, now, below this id, states, tasks, queues (NULL for any), limit
SELECT r.id, r.fence, r.reopened, r.record FROM stem.record r
WHERE r.ns = %(ns)s::int AND r.keep_ms > stem.now_ms(%(now)s::bigint)
    AND (%(below)s::text IS NULL OR r.id < %(below)s::text)
    AND (%(states)s::text[] IS NULL OR r.state = ANY (%(states)s::text[]))
    AND (%(tasks)s::text[] IS NULL OR r.task = ANY (%(tasks)s::text[]))
    AND (%(queues)s::text[] IS NULL OR r.queue = ANY (%(queues)s::text[]))
ORDER BY r.id DESC LIMIT %(limit)s::int;

-- name: note_progress
-- ns, now, ids, fences, milliseconds to keep, values
WITH clock AS (SELECT stem.now_ms(%s::bigint) AS now_ms)
INSERT INTO stem.progress AS p (ns, fence, keep_ms, id, value)
SELECT x.ns, i.fence, c.now_ms + i.ttl, i.id, i.value
FROM clock c, (SELECT %s::int AS ns) AS x,
    unnest(%b::text[], %b::bigint[], %b::bigint[], %b::bytea[]) AS i (id, fence, ttl, value)
    LEFT JOIN LATERAL (
        SELECT true AS is_late FROM stem.record r
        WHERE r.ns = x.ns AND r.id = i.id AND r.keep_ms > c.now_ms AND r.terminal
            AND r.fence >= i.fence
        LIMIT 1
    ) AS r ON true
WHERE r.is_late IS NULL
ON CONFLICT (ns, id) DO UPDATE SET
    fence = excluded.fence, keep_ms = excluded.keep_ms, value = excluded.value
WHERE p.fence <= excluded.fence;

-- name: progress_of
-- ns, now, ids
SELECT p.id, p.value FROM stem.progress p
WHERE p.ns = %s::int AND p.keep_ms > stem.now_ms(%s::bigint) AND p.id = ANY (%b::text[]);

-- name: expire
-- ns, now, milliseconds, ids -> those that existed. What is over at once leaves no value behind,
-- though its row may stay for what it says of a message.
WITH clock AS (
    SELECT stem.now_ms(%(now)s::bigint) AS now_ms
), progress AS (
    UPDATE stem.progress p SET keep_ms = c.now_ms + %(ttl)s::bigint FROM clock c
    WHERE p.ns = %(ns)s::int AND p.id = ANY (%(ids)b::text[])
)
UPDATE stem.record r SET
    keep_ms = CASE WHEN %(ttl)s::bigint > 0 THEN c.now_ms + %(ttl)s::bigint ELSE 0 END,
    record = CASE WHEN %(ttl)s::bigint > 0 THEN r.record ELSE '' END
FROM clock c
WHERE r.ns = %(ns)s::int AND r.keep_ms > c.now_ms AND r.id = ANY (%(ids)b::text[])
RETURNING r.id;

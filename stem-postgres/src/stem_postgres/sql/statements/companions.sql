-- Heartbeats, schedules, locks, limits and the control channel.

-- name: beat
-- ns, now, worker, at, ttl, detail
INSERT INTO stem.heartbeat (ns, at_ms, ttl_ms, keep_ms, worker, detail)
VALUES (
    %(ns)s::int, %(at)s::bigint, %(ttl)s::bigint,
    stem.now_ms(%(now)s::bigint) + %(ttl)s::bigint, %(worker)s, %(detail)b::bytea
)
ON CONFLICT (ns, worker) DO UPDATE SET
    at_ms = excluded.at_ms, ttl_ms = excluded.ttl_ms, keep_ms = excluded.keep_ms,
    detail = excluded.detail;

-- name: alive
SELECT h.worker, h.at_ms, h.detail, h.ttl_ms FROM stem.heartbeat h
WHERE h.ns = %s::int AND h.keep_ms > stem.now_ms(%s::bigint) ORDER BY h.worker;

-- name: leave
DELETE FROM stem.heartbeat h WHERE h.ns = %s::int AND h.worker = %s;

-- name: schedules
SELECT s.name, s.version, s.state FROM stem.schedule s WHERE s.ns = %s::int ORDER BY s.name;

-- name: save_schedule
-- ns, name, version, state -> the version, if it was one more than what is kept
INSERT INTO stem.schedule AS s (ns, version, name, state)
SELECT %(ns)s::int, %(version)s::bigint, %(name)s, %(state)b::bytea
WHERE %(version)s::bigint = 1 OR EXISTS (
    SELECT FROM stem.schedule k WHERE k.ns = %(ns)s::int AND k.name = %(name)s
)
ON CONFLICT (ns, name) DO UPDATE SET version = excluded.version, state = excluded.state
WHERE s.version = excluded.version - 1
RETURNING version;

-- name: remove_schedule
DELETE FROM stem.schedule s WHERE s.ns = %s::int AND s.name = %s RETURNING s.name;

-- name: lock
-- ns, now, name, owner, milliseconds -> the fence, unless another one holds it
WITH clock AS (SELECT stem.now_ms(%(now)s::bigint) AS now_ms)
INSERT INTO stem.lock AS l (ns, fence, keep_ms, name, owner)
SELECT
    %(ns)s::int, nextval('stem.turn'), c.now_ms + %(ttl)s::bigint, %(name)s, %(owner)s
FROM clock c
ON CONFLICT (ns, name) DO UPDATE SET
    keep_ms = excluded.keep_ms, owner = excluded.owner,
    fence = CASE
        WHEN l.owner = excluded.owner AND l.keep_ms > excluded.keep_ms - %(ttl)s::bigint
        THEN l.fence ELSE greatest(excluded.fence, l.fence + 1)
    END
WHERE l.owner = excluded.owner OR l.keep_ms <= excluded.keep_ms - %(ttl)s::bigint
RETURNING fence;

-- name: unlock
-- ns, now, name, owner
UPDATE stem.lock l SET keep_ms = stem.now_ms(%(now)s::bigint)
WHERE l.ns = %(ns)s::int AND l.name = %(name)s AND l.owner = %(owner)s
    AND l.keep_ms > stem.now_ms(%(now)s::bigint)
RETURNING l.name;

-- name: give_back
-- ns, keys, holder
DELETE FROM stem.holder h WHERE h.ns = %s::int AND h.key = ANY (%b::text[]) AND h.holder = %s;

-- name: send
-- ns, now, body, key id, algorithm, signature. One after the other: numbers tell the order.
WITH turn AS MATERIALIZED (
    SELECT pg_advisory_xact_lock(7314161, %(ns)s::int)
), sent AS (
    INSERT INTO stem.control (ns, at_ms, body, key_id, algorithm, signature)
    SELECT
        %(ns)s::int, stem.now_ms(%(now)s::bigint), %(body)b::bytea, %(key_id)s, %(algorithm)s,
        %(signature)b::bytea
    FROM turn
    RETURNING ns
)
SELECT pg_notify(n.channel, 'c') FROM sent s JOIN stem.namespace n USING (ns);

-- name: last_sent
-- ns -> the number of the last control message
SELECT coalesce(max(c.n), 0) FROM stem.control c WHERE c.ns = %s::int;

-- name: sent_since
-- ns, after this number
SELECT c.n, c.body, c.key_id, c.algorithm, c.signature FROM stem.control c
WHERE c.ns = %s::int AND c.n > %s::bigint ORDER BY c.n LIMIT 1000;

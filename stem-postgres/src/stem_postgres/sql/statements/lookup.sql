-- Messages as people see them. Each gives the columns that `locate` reads.

-- name: located
-- ns, now, ids
WITH clock AS (SELECT stem.now_ms(%(now)s::bigint) AS now_ms)
SELECT
    c.now_ms, m.place::int, m.id, m.queue, m.task, m.rank, m.lease_ms, m.dedupe_ms, m.more,
    m.body, m.fence, m.base, m.failed, m.lapses, m.releases, m.ready_ms, m.until_ms, m.worker,
    m.cancel_reason, m.errors, NULL AS reason, 0::bigint AS died_at_ms, m.ticket
FROM clock c, stem.message m WHERE m.ns = %(ns)s::int AND m.id = ANY (%(ids)b::text[])
UNION ALL
SELECT
    c.now_ms, 3, d.id, d.queue, d.task, d.rank, d.lease_ms, d.dedupe_ms, d.more,
    d.body, d.fence, d.base, d.failed, d.lapses, d.releases, d.ready_ms, d.until_ms, d.worker,
    d.cancel_reason, d.errors, d.reason, d.died_at_ms, d.ticket
FROM clock c, stem.dead d
WHERE d.ns = %(ns)s::int AND d.id = ANY (%(ids)b::text[]) AND d.keep_ms > c.now_ms;

-- name: peek
-- ns, now, queue, after this id, limit
SELECT
    c.now_ms, m.place::int, m.id, m.queue, m.task, m.rank, m.lease_ms, m.dedupe_ms, m.more,
    m.body, m.fence, m.base, m.failed, m.lapses, m.releases, m.ready_ms, m.until_ms, m.worker,
    m.cancel_reason, m.errors, NULL AS reason, 0::bigint AS died_at_ms, m.ticket
FROM (SELECT stem.now_ms(%(now)s::bigint) AS now_ms) c, stem.message m
WHERE m.ns = %(ns)s::int AND m.queue = %(queue)s AND m.id > %(after)s
ORDER BY m.id LIMIT %(limit)s::int;

-- name: dead
-- ns, now, queue or NULL for all, below this ticket, limit: the latest first
SELECT
    c.now_ms, 3, d.id, d.queue, d.task, d.rank, d.lease_ms, d.dedupe_ms, d.more,
    d.body, d.fence, d.base, d.failed, d.lapses, d.releases, d.ready_ms, d.until_ms, d.worker,
    d.cancel_reason, d.errors, d.reason, d.died_at_ms, d.ticket
FROM (SELECT stem.now_ms(%(now)s::bigint) AS now_ms) c, stem.dead d
WHERE d.ns = %(ns)s::int AND d.keep_ms > c.now_ms AND d.ticket < %(below)s::bigint
    AND (%(queue)s::text IS NULL OR d.queue = %(queue)s::text)
ORDER BY d.ticket DESC LIMIT %(limit)s::int;

-- name: stats
-- ns, now -> queue, ready, delayed, parked, leased, dead, oldest, paused
WITH clock AS (SELECT stem.now_ms(%(now)s::bigint) AS now_ms),
live AS (
    SELECT
        m.queue,
        count(*) FILTER (WHERE m.place = 0 AND m.ready_ms <= c.now_ms) AS ready,
        count(*) FILTER (WHERE m.place = 0 AND m.ready_ms > c.now_ms) AS delayed,
        count(*) FILTER (WHERE m.place = 1) AS parked,
        count(*) FILTER (WHERE m.place = 2) AS leased,
        min(m.ready_ms) FILTER (WHERE m.place < 2 AND m.ready_ms <= c.now_ms) AS oldest
    FROM clock c, stem.message m WHERE m.ns = %(ns)s::int GROUP BY m.queue
),
dead AS (
    SELECT d.queue, count(*) AS dead FROM clock c, stem.dead d
    WHERE d.ns = %(ns)s::int AND d.keep_ms > c.now_ms GROUP BY d.queue
),
paused AS (SELECT p.queue, true AS paused FROM stem.paused p WHERE p.ns = %(ns)s::int)
SELECT
    queue, coalesce(l.ready, 0), coalesce(l.delayed, 0), coalesce(l.parked, 0),
    coalesce(l.leased, 0), coalesce(d.dead, 0), coalesce(c.now_ms - l.oldest, 0),
    coalesce(p.paused, false)
FROM live l FULL JOIN dead d USING (queue) FULL JOIN paused p USING (queue) CROSS JOIN clock c;

-- name: waiting
-- ns, queue, limit -> what a purge cancels first
SELECT m.id, m.task, m.failed FROM stem.message m
WHERE m.ns = %(ns)s::int AND m.queue = %(queue)s AND m.held_ms IS NULL AND m.place < 2
ORDER BY m.rank, m.ready_ms, m.ticket LIMIT %(limit)s::int;

-- name: pause
INSERT INTO stem.paused (ns, queue) VALUES (%(ns)s::int, %(queue)s) ON CONFLICT DO NOTHING;

-- name: resume
WITH gone AS (
    DELETE FROM stem.paused WHERE ns = %(ns)s::int AND queue = %(queue)s RETURNING queue
)
SELECT stem.rouse(%(ns)s::int, g.queue, 0) FROM gone g;

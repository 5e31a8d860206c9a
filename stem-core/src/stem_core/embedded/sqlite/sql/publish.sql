-- Broker.publish

-- name: known
-- ids -> id, place, due_ms, digest, fence, seq
SELECT id, place, due_ms, digest, fence, seq FROM stem_message WHERE id IN (? /* each */);

-- name: holder
-- key, now -> id of the message that holds it
SELECT id FROM stem_unique WHERE key = ? AND (until_ms IS NULL OR until_ms > ?);

-- name: claim
INSERT OR REPLACE INTO stem_unique (key, id, until_ms) VALUES (?, ?, ?);

-- name: insert
INSERT INTO stem_message (
    seq, ticket, fence, base, settled, id, queue, task, rank, place, due_ms, ready_ms,
    lease_ms, dedupe_ms, digest, unique_key, unique_until, more, body
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) /* each */
ON CONFLICT (id) DO NOTHING;

-- name: insert_next
-- The same for one message, which finds out by itself what it is counted from.
INSERT INTO stem_message (
    seq, ticket, fence, base, settled, id, queue, task, rank, place, due_ms, ready_ms,
    lease_ms, dedupe_ms, digest, unique_key, unique_until, more, body
)
SELECT n, n, fence_base, fence_base, fence_base, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?
FROM (
    SELECT max(ticket, ifnull((SELECT max(seq) FROM stem_message), 0)) + 1 AS n, fence_base
    FROM stem_meta
)
WHERE true
ON CONFLICT (id) DO NOTHING;

-- name: take_back
-- first seq, last seq: what was inserted beside an id that is known
DELETE FROM stem_message WHERE seq BETWEEN ? AND ?;

-- name: insert_body
INSERT INTO stem_body (seq, body) VALUES (?, ?);

-- name: counters
-- -> the highest ticket that was given, the base of fences
SELECT max(ticket, ifnull((SELECT max(seq) FROM stem_message), 0)), fence_base FROM stem_meta;

-- name: keep_ticket
UPDATE stem_meta SET ticket = max(ticket, ?);

-- name: raise_base
UPDATE stem_meta SET fence_base = max(fence_base, ?);

-- name: lift
-- An id that is born again after its time: its old row goes.
DELETE FROM stem_message WHERE seq = ?;

-- Broker.publish

-- name: known
-- ids -> id, place, due_ms, digest, fence
SELECT id, place, due_ms, digest, fence FROM stem_message WHERE id IN (? /* each */);

-- name: holder
-- key, now -> id of the message that holds it
SELECT id FROM stem_unique WHERE key = ? AND (until_ms IS NULL OR until_ms > ?);

-- name: claim
INSERT OR REPLACE INTO stem_unique (key, id, until_ms) VALUES (?, ?, ?);

-- name: insert
INSERT INTO stem_message (
    fence, base, settled, ticket, ready_ms, id, queue, task, rank, place, due_ms,
    lease_ms, dedupe_ms, digest, unique_key, unique_until, more, body
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) /* each */
ON CONFLICT (id) DO NOTHING;

-- name: insert_one
-- The same for one message, which finds out by itself what its fences are counted from.
INSERT INTO stem_message (
    fence, base, settled, ticket, ready_ms, id, queue, task, rank, place, due_ms,
    lease_ms, dedupe_ms, digest, unique_key, unique_until, more, body
) SELECT fence_base, fence_base, fence_base, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?
FROM stem_meta WHERE true
ON CONFLICT (id) DO NOTHING;

-- name: take_back
-- ticket, id: what was inserted beside an id that is known
DELETE FROM stem_message WHERE ticket = ? AND id = ?;

-- name: insert_body
-- body, id
INSERT INTO stem_body (seq, body) SELECT seq, ? FROM stem_message WHERE id = ?;

-- name: base
-- -> the base of fences
SELECT fence_base FROM stem_meta;

-- name: raise_base
UPDATE stem_meta SET fence_base = max(fence_base, ?);

-- name: lift
-- An id that is born again after its time: its old row goes.
DELETE FROM stem_message WHERE id = ?;

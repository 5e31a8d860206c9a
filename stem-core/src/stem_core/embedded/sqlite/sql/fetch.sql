-- Broker.fetch: time first, then the taking.

-- name: next_due
-- -> when the next delayed, parked and leased message is due
SELECT
    (SELECT min(due_ms) FROM stem_message WHERE place = 1 AND due_ms IS NOT NULL),
    (SELECT min(due_ms) FROM stem_message WHERE place = 2 AND due_ms IS NOT NULL),
    (SELECT min(due_ms) FROM stem_message WHERE place = 3 AND due_ms IS NOT NULL);

-- name: due
-- place, now, limit -> seq, queue, due_ms in the order in which they became due
SELECT seq, queue, due_ms FROM stem_message
WHERE place = ? AND due_ms IS NOT NULL AND due_ms <= ?
ORDER BY due_ms, queue, seq LIMIT ?;

-- name: promote
-- ticket, seq: what was delayed is ready, what was parked shows it until it is leased.
UPDATE stem_message
SET ready_ms = due_ms, due_ms = NULL, place = CASE place WHEN 1 THEN 0 ELSE place END, ticket = ?
WHERE seq = ?;

-- name: lapse
-- ticket, seq
UPDATE stem_message
SET ready_ms = due_ms, due_ms = NULL, place = 0, ticket = ?, lapses = lapses + 1
WHERE seq = ?;

-- name: paused
SELECT queue FROM stem_paused;

-- name: ready
-- queue, limit -> deliveries, in the order of service
SELECT
    m.seq, m.id, m.queue, m.task, m.rank, m.lease_ms, m.dedupe_ms, m.more, m.body,
    m.fence, m.failed, m.lapses, m.releases, m.first_parked_ms, m.cancel_reason, m.errors,
    m.unique_key, m.unique_until, m.place
FROM stem_message AS m
WHERE m.queue = ? AND m.due_ms IS NULL
ORDER BY m.rank, m.ready_ms, m.ticket LIMIT ?;

-- name: lease
-- now, worker, seqs
UPDATE stem_message
SET place = 3, due_ms = ? + lease_ms, fence = fence + 1, worker = ?
WHERE seq IN (SELECT value FROM json_each(?));

-- name: let_go
-- key, id: a key that the first lease, or the end, frees
DELETE FROM stem_unique WHERE key = ? AND id = ? AND until_ms IS NULL;

-- name: body
SELECT body FROM stem_body WHERE seq = ?;

-- name: errors
-- seq -> the errors that are kept, oldest first
SELECT error FROM stem_error WHERE seq = ? ORDER BY n;

-- name: claim_again
-- key, id: what `let_go` freed at a lease that is undone
INSERT OR IGNORE INTO stem_unique (key, id) VALUES (?, ?);

-- name: undo
-- place, id, fence: a lease that nobody received goes back to its turn.
UPDATE stem_message
SET place = ?, due_ms = NULL, settled = fence
WHERE id = ? AND fence = ? AND settled < fence AND place = 3;

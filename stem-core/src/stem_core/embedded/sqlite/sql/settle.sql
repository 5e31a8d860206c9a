-- Broker.settle, extend and cancel: what has become of messages that somebody holds.

-- name: rows
-- ids -> what it takes to decide
SELECT
    id, seq, queue, place, due_ms, fence, settled, failed, errors,
    first_parked_ms, unique_key, cancel_reason
FROM stem_message WHERE id IN (? /* each */);

-- name: extend
-- due, seq
UPDATE stem_message SET place = 3, due_ms = ? WHERE seq = ?;

-- name: acknowledge
-- (id, fence) of each, now -> id, seq, unique key, errors of those whose leases held. Of a
-- message only its id stays, for as long as it asked.
WITH mine (id, fence) AS (VALUES (?, ?) /* each */)
UPDATE stem_message
SET place = 5, due_ms = ? + dedupe_ms, settled = stem_message.fence,
    body = NULL, more = NULL, worker = NULL
FROM mine
WHERE stem_message.id = mine.id AND stem_message.fence = mine.fence
    AND settled < stem_message.fence AND place < 4
RETURNING stem_message.id, seq, unique_key, errors;

-- name: end
-- now, seqs: settled for good. Of the message only its id stays, for as long as it asked.
UPDATE stem_message
SET place = 5, due_ms = ? + dedupe_ms, settled = fence, body = NULL, more = NULL, worker = NULL
WHERE seq IN (SELECT value FROM json_each(?));

-- name: drop
-- now, seqs: ended without having been settled: cancelled, purged, discarded, forgotten.
UPDATE stem_message
SET place = 5, due_ms = ? + dedupe_ms, body = NULL, more = NULL, worker = NULL
WHERE seq IN (SELECT value FROM json_each(?));

-- name: drop_bodies
DELETE FROM stem_body WHERE seq IN (SELECT value FROM json_each(?));

-- name: drop_errors
DELETE FROM stem_error WHERE seq IN (SELECT value FROM json_each(?));

-- name: come_back
-- Waits or is ready again: place, due, ready and ticket (NULL keeps the old turn), failed,
-- errors, releases to add, first_parked, seq
UPDATE stem_message
SET place = ?, due_ms = ?, ready_ms = ifnull(?, ready_ms), ticket = ifnull(?, ticket), failed = ?, errors = ?,
    releases = releases + ?, first_parked_ms = ?, lapses = 0, settled = fence
WHERE seq = ?;

-- name: bury
-- due, ticket, failed, errors, reason, died_at, seq
UPDATE stem_message
SET place = 4, due_ms = ?, ticket = ?, failed = ?, errors = ?, reason = ?, died_at_ms = ?,
    lapses = 0, settled = fence
WHERE seq = ?;

-- name: note_error
INSERT OR REPLACE INTO stem_error (seq, n, error) VALUES (?, ?, ?);

-- name: forget_errors
-- seq, n: all up to n
DELETE FROM stem_error WHERE seq = ? AND n <= ?;

-- name: request_cancel
UPDATE stem_message SET cancel_reason = ? WHERE seq = ?;

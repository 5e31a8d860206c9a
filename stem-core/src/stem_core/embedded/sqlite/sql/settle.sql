-- Broker.settle, extend and cancel: what has become of messages that somebody holds.

-- name: rows
-- ids -> what it takes to decide
SELECT
    id, seq, queue, rank, place, due_ms, fence, settled, failed, errors,
    first_parked_ms, unique_key, cancel_reason, dedupe_ms, body IS NULL
FROM stem_message WHERE id IN (? /* each */);

-- name: extend
-- due, seq
UPDATE stem_message SET place = 3, due_ms = ? WHERE seq = ?;

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

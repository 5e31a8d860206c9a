-- Broker.lookup, peek and the lists of dead letters: messages as people see them.
-- All give the columns of `located`.

-- name: located
-- now, ids. A dead letter whose time is over is not seen, swept or not.
SELECT
    id, seq, queue, task, rank, lease_ms, dedupe_ms, more, body,
    fence, base, place, due_ms, failed, lapses, releases, worker, cancel_reason,
    reason, died_at_ms, errors
FROM stem_message WHERE place < 5 AND (place < 4 OR due_ms > ?) AND id IN (? /* each */);

-- name: peek
-- queue, after this id, limit
SELECT
    id, seq, queue, task, rank, lease_ms, dedupe_ms, more, body,
    fence, base, place, due_ms, failed, lapses, releases, worker, cancel_reason,
    reason, died_at_ms, errors
FROM stem_message WHERE place < 4 AND queue = ? AND id > ? ORDER BY id LIMIT ?;

-- name: dead
-- now, queue or NULL for all (twice), below this ticket, limit -> the latest first, and the ticket
SELECT
    id, seq, queue, task, rank, lease_ms, dedupe_ms, more, body,
    fence, base, place, due_ms, failed, lapses, releases, worker, cancel_reason,
    reason, died_at_ms, errors, ticket
FROM stem_message
WHERE place = 4 AND due_ms IS NOT NULL AND due_ms > ? AND (? IS NULL OR queue = ?)
    AND ticket < ?
ORDER BY ticket DESC LIMIT ?;

-- BrokerAdmin: counting, holding, replaying, removing.

-- name: takeable
-- -> queue, place, count of what can be taken
SELECT queue, place, count(*) FROM stem_message WHERE due_ms IS NULL GROUP BY queue, place;

-- name: timed
-- now -> queue, place, count of what waits for time, is leased, or is dead and not forgotten
SELECT queue, place, count(*) FROM stem_message
WHERE due_ms IS NOT NULL AND (place < 4 OR (place = 4 AND due_ms > ?))
GROUP BY queue, place;

-- name: first_of
-- queue, rank -> since when the first in line can be taken
SELECT ready_ms FROM stem_message WHERE queue = ? AND rank = ? AND due_ms IS NULL
ORDER BY ready_ms, ticket LIMIT 1;

-- name: pause
INSERT OR IGNORE INTO stem_paused (queue) VALUES (?);

-- name: resume
DELETE FROM stem_paused WHERE queue = ?;

-- name: waiting_ready
-- queue, limit -> what a purge cancels first: what could be taken, in the order of service
SELECT id, seq, task, failed, fence FROM stem_message WHERE queue = ? AND due_ms IS NULL
ORDER BY rank, ready_ms, ticket LIMIT ?;

-- name: waiting_later
-- queue, limit -> what a purge cancels after that
SELECT id, seq, task, failed, fence FROM stem_message
WHERE place IN (1, 2) AND due_ms IS NOT NULL AND queue = ? LIMIT ?;

-- name: revive
-- now, ticket, seq: a dead letter is ready again. Its fence and its history go on.
UPDATE stem_message
SET place = 0, due_ms = NULL, ready_ms = ?, ticket = ?, failed = 0, lapses = 0,
    first_parked_ms = NULL, cancel_reason = NULL, reason = NULL, died_at_ms = NULL
WHERE seq = ?;

-- name: fill
-- For the health check: is there room for more than a page?
INSERT OR REPLACE INTO stem_body (seq, body) VALUES (-1, zeroblob(65536));

-- name: empty
DELETE FROM stem_body WHERE seq = -1;

-- name: probe
UPDATE stem_meta SET seen_ms = max(seen_ms, ?);

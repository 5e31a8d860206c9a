-- ResultBackend

-- name: load
-- ids -> id, due_ms, record
SELECT id, due_ms, record FROM stem_record WHERE id IN (? /* each */);

-- name: save
INSERT OR REPLACE INTO stem_record (id, state, fence, task, queue, due_ms, record)
VALUES (?, ?, ?, ?, ?, ?, ?) /* each */;

-- name: ended
-- now, ids -> those that have a terminal record
SELECT id FROM stem_record
WHERE due_ms > ? AND state NOT IN ('queued', 'scheduled', 'parked', 'running')
    AND id IN (? /* each */);

-- name: list
-- now; each twice: below this id, states, tasks, queues (JSON lists, or NULL for any); limit
SELECT id, due_ms, record FROM stem_record
WHERE due_ms > ? AND (? IS NULL OR id < ?)
    AND (? IS NULL OR state IN (SELECT value FROM json_each(?)))
    AND (? IS NULL OR task IN (SELECT value FROM json_each(?)))
    AND (? IS NULL OR queue IN (SELECT value FROM json_each(?)))
ORDER BY id DESC LIMIT ?;

-- name: progress
-- ids -> id, fence, due_ms, value
SELECT id, fence, due_ms, value FROM stem_progress WHERE id IN (? /* each */);

-- name: note_progress
INSERT OR REPLACE INTO stem_progress (id, fence, due_ms, value) VALUES (?, ?, ?, ?);

-- name: expire
-- due, id, now
UPDATE stem_record SET due_ms = ? WHERE id = ? AND due_ms > ?;

-- name: expire_progress
UPDATE stem_progress SET due_ms = ? WHERE id = ?;

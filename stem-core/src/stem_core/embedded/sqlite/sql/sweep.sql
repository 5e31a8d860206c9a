-- Housekeeping: what has had its time goes, a bounded piece at a time. Every statement takes
-- now and a limit.

-- name: base
-- -> above every fence of the ids that are forgotten next
SELECT max(fence) + 1 FROM (
    SELECT fence FROM stem_message WHERE place = 5 AND due_ms IS NOT NULL AND due_ms <= ?
    ORDER BY due_ms LIMIT ?
);

-- name: ended
DELETE FROM stem_message WHERE seq IN (
    SELECT seq FROM stem_message WHERE place = 5 AND due_ms IS NOT NULL AND due_ms <= ?
    ORDER BY due_ms LIMIT ?
);

-- name: dead
-- -> dead letters whose time is over, with the columns of settle.rows
SELECT
    id, seq, queue, place, due_ms, fence, settled, failed, errors,
    first_parked_ms, unique_key, cancel_reason
FROM stem_message WHERE place = 4 AND due_ms IS NOT NULL AND due_ms <= ?
ORDER BY due_ms LIMIT ?;

-- name: records
DELETE FROM stem_record WHERE id IN (
    SELECT id FROM stem_record WHERE due_ms <= ? ORDER BY due_ms LIMIT ?
);

-- name: progress
DELETE FROM stem_progress WHERE id IN (
    SELECT id FROM stem_progress WHERE due_ms <= ? ORDER BY due_ms LIMIT ?
);

-- name: windows
DELETE FROM stem_unique WHERE key IN (
    SELECT key FROM stem_unique WHERE until_ms IS NOT NULL AND until_ms <= ? LIMIT ?
);

-- name: starts
DELETE FROM stem_start WHERE n IN (
    SELECT n FROM stem_start WHERE due_ms <= ? ORDER BY due_ms LIMIT ?
);

-- name: holders
DELETE FROM stem_holder WHERE (key, holder) IN (
    SELECT key, holder FROM stem_holder WHERE due_ms <= ? LIMIT ?
);

-- name: heartbeats
DELETE FROM stem_heartbeat WHERE worker IN (
    SELECT worker FROM stem_heartbeat WHERE due_ms <= ? LIMIT ?
);

-- name: control
DELETE FROM stem_control WHERE n IN (
    SELECT n FROM stem_control WHERE at_ms <= ? - 60000 ORDER BY n LIMIT ?
);

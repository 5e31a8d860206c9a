-- Heartbeats, schedules, locks, limits and the control channel.

-- name: beat
INSERT OR REPLACE INTO stem_heartbeat (worker, at_ms, detail, ttl_ms, due_ms)
VALUES (?, ?, ?, ?, ?);

-- name: alive
SELECT worker, at_ms, detail, ttl_ms FROM stem_heartbeat WHERE due_ms > ? ORDER BY worker;

-- name: leave
DELETE FROM stem_heartbeat WHERE worker = ?;

-- name: schedules
SELECT name, version, state FROM stem_schedule ORDER BY name;

-- name: schedule_version
SELECT version FROM stem_schedule WHERE name = ?;

-- name: save_schedule
INSERT OR REPLACE INTO stem_schedule (name, version, state) VALUES (?, ?, ?);

-- name: remove_schedule
DELETE FROM stem_schedule WHERE name = ?;

-- name: lock
SELECT owner, fence, due_ms FROM stem_lock WHERE name = ?;

-- name: take_lock
INSERT OR REPLACE INTO stem_lock (name, owner, fence, due_ms) VALUES (?, ?, ?, ?);

-- name: free_lock
-- name, owner, now. Its row stays, ended: the fence of the next owner is higher.
UPDATE stem_lock SET due_ms = 0 WHERE name = ? AND owner = ? AND due_ms > ?;

-- name: send
INSERT INTO stem_control (at_ms, body, key_id, algorithm, signature) VALUES (?, ?, ?, ?, ?);

-- name: last_before
-- instant -> the number of the last message that was sent before it
SELECT ifnull(
    (SELECT max(n) FROM stem_control WHERE at_ms < ?),
    (SELECT ifnull(min(n), 1) - 1 FROM stem_control)
);

-- name: sent_since
SELECT n, body, key_id, algorithm, signature FROM stem_control WHERE n > ? ORDER BY n LIMIT 1000;

-- name: starts
-- key, since -> how many starts, counted by a window
SELECT count(*) FROM stem_start WHERE key = ? AND at_ms > ?;

-- name: start_that_frees
-- key, rate - 1 -> when the start was that has to leave the window first
SELECT at_ms FROM stem_start WHERE key = ? ORDER BY at_ms DESC LIMIT 1 OFFSET ?;

-- name: start
INSERT INTO stem_start (key, at_ms, due_ms) VALUES (?, ?, ?);

-- name: holders
-- key, now -> holder, due_ms
SELECT holder, due_ms FROM stem_holder WHERE key = ? AND due_ms > ?;

-- name: hold
INSERT OR REPLACE INTO stem_holder (key, holder, due_ms) VALUES (?, ?, ?);

-- name: give_back
DELETE FROM stem_holder WHERE key = ? AND holder = ?;

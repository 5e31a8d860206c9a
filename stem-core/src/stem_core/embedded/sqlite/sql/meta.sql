-- Who a store is, and how its time runs.

-- name: exists
-- -> the name that is there, and the one that is meant
SELECT name, 'stem_meta' FROM sqlite_master
WHERE type = 'table' AND name = 'stem_meta' COLLATE NOCASE;

-- name: version
SELECT version FROM stem_meta;

-- name: create
INSERT INTO stem_meta (one, version, store) VALUES (1, 0, ?);

-- name: set_version
UPDATE stem_meta SET version = ?;

-- name: identity
SELECT store FROM stem_meta;

-- name: time
SELECT boot, offset_ms, seen_ms FROM stem_meta;

-- name: set_time
UPDATE stem_meta SET boot = ?, offset_ms = ?;

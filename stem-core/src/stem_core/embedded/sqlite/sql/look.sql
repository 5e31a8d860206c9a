-- What a process that waits looks at when another one has written.

-- name: ready
-- queues -> those with something to take, unless they are paused
SELECT DISTINCT q.queue FROM (
    SELECT column1 AS queue FROM (VALUES (?) /* each */)
) AS q
WHERE EXISTS (SELECT 1 FROM stem_message AS m WHERE m.queue = q.queue AND m.due_ms IS NULL)
    AND q.queue NOT IN (SELECT queue FROM stem_paused);

-- name: last_sent
SELECT max(n) FROM stem_control;

-- name: next_due
SELECT min(due_ms) FROM (
    SELECT min(due_ms) AS due_ms FROM stem_message WHERE place = 1 AND due_ms IS NOT NULL
    UNION ALL
    SELECT min(due_ms) FROM stem_message WHERE place = 2 AND due_ms IS NOT NULL
    UNION ALL
    SELECT min(due_ms) FROM stem_message WHERE place = 3 AND due_ms IS NOT NULL
);

-- Calls of the functions, one for each verb.

-- name: publish
SELECT n, status, detail FROM stem.publish(
    %s::int, %s::bigint, %s::boolean, %b::text[], %b::text[], %b::text[], %b::smallint[],
    %b::bigint[], %b::bigint[], %b::bigint[], %b::bigint[], %b::bigint[], %b::smallint[],
    %b::text[], %b::bigint[], %b::bytea[], %b::bytea[]
);

-- name: publish_one
-- ns, now, then the columns of one message: the same without arrays
SELECT stem.admit(
    %s::int, stem.now_ms(%s::bigint), %s::text, %s::text, %s::text, %s::smallint, %s::bigint,
    %s::bigint, %s::bigint, %s::bigint, %s::bigint, %s::smallint, %s::text, %s::bigint,
    %b::bytea, %b::bytea, %s::boolean
);

-- name: fetch
SELECT
    n, now_ms, ready_ms, ticket, until_ms, id, queue, task, rank, lease_ms, dedupe_ms, more, body,
    fence, failed, lapses, releases, parked_ms, cancel_reason, errors
FROM stem.fetch(%s::int, %s::bigint, %b::text[], %s::int, %s::bigint, %s::text, %b::bigint[]);

-- name: lowest
SELECT low, passed FROM stem.lowest(%s::int, %s::bigint, %b::text[], %b::bigint[]);

-- name: extend
SELECT status, left_ms, reason
FROM stem.extend(%s::int, %s::bigint, %b::text[], %b::bigint[], %b::bigint[]);

-- name: settle
SELECT n, status, detail FROM stem.settle(
    %s::int, %s::bigint, %s::boolean, %b::text[], %b::bigint[], %b::text[], %b::bigint[],
    %b::text[], %b::bytea[], %b::int[], %b::boolean[], %b::bigint[], %b::boolean[], %b::text[],
    %b::text[], %b::text[], %b::bigint[], %b::bytea[],
    %b::int[], %b::text[], %b::text[], %b::text[], %b::smallint[], %b::bigint[], %b::bigint[],
    %b::bigint[], %b::bigint[], %b::bigint[], %b::smallint[], %b::text[], %b::bigint[],
    %b::bytea[], %b::bytea[]
);

-- name: cancel
SELECT status, fence, id, queue, task, rank, lease_ms, dedupe_ms, more, body
FROM stem.cancel(
    %s::int, %s::bigint, %s::boolean, %b::text[], %b::text[], %b::boolean[], %b::boolean[],
    %b::text[], %b::text[], %b::text[], %b::bigint[], %b::bytea[]
);

-- name: replay
SELECT status, fence FROM stem.replay(%s::int, %s::bigint, %b::text[]);

-- name: discard
SELECT status, fence FROM stem.discard(%s::int, %s::bigint, %b::text[]);

-- name: sweep
SELECT stem.sweep(%s::int, %s::bigint, %s::int);

-- name: acquire
SELECT stem.acquire(
    %s::int, %s::bigint, %s::text, %s::bigint, %b::text[], %b::int[], %b::bigint[], %b::int[]
);

-- name: offer
SELECT stem.offer(
    %s::int, stem.now_ms(%s::bigint), %b::text[], %b::bigint[], %b::boolean[], %b::text[],
    %b::text[], %b::text[], %b::bigint[], %b::bytea[], %s::boolean
);

-- name: reopen
SELECT stem.reopen(%s::int, stem.now_ms(%s::bigint), i.id, i.fence)
FROM unnest(%b::text[], %b::bigint[]) WITH ORDINALITY AS i (id, fence, n) ORDER BY i.n;

-- Version 2: what is left of a message that ended with a result is a part of that result.

-- All three are 0 where the record says nothing of a message. While known_ms lies ahead, the row
-- stays, though as a record it may be over, and `ended` has none of that id.
SET LOCAL lock_timeout = '5s';  -- behind whoever waits for this, every end of a task waits too
ALTER TABLE stem.record
    ADD COLUMN known_ms bigint NOT NULL DEFAULT 0, -- until when the id of the message is known
    ADD COLUMN digest   bigint NOT NULL DEFAULT 0, -- of its body
    ADD COLUMN settled  bigint NOT NULL DEFAULT 0; -- the fence under which it ended
SET LOCAL lock_timeout = 0;

-- By when a row may go. By keep_ms alone a sweep would walk past all that are over and still known.
DROP INDEX stem.record_over;
CREATE INDEX record_over ON stem.record (ns, greatest(keep_ms, known_ms));

-- Version 2: what is left of a message that ended with a result is a part of that result.

-- Set together, for as long as the message asked to be known; then there is no row of it in
-- `ended`, and this one is kept for at least as long.
ALTER TABLE stem.record
    ADD COLUMN known_ms bigint,                    -- until when; NULL: it is not known by this
    ADD COLUMN digest   bigint,                    -- of the body
    ADD COLUMN settled  bigint;                    -- the fence under which it ended

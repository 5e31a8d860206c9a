-- What the clock of this server says, in milliseconds; or what a test says instead.
--
-- Not now(), which stands still within a transaction.
CREATE OR REPLACE FUNCTION stem.now_ms(p_now bigint) RETURNS bigint
LANGUAGE sql VOLATILE PARALLEL RESTRICTED AS $$
    SELECT coalesce(p_now, floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint)
$$;

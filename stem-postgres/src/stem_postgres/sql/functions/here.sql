-- For calls on the caller's own connection: the number of a namespace, if this is the store that
-- has given it. In any other database the same number is somebody else's, or nobody's, and what
-- is committed under it would never be seen.
CREATE OR REPLACE FUNCTION stem.ns_here(p_ns integer, p_channel text) RETURNS integer
LANGUAGE plpgsql STABLE AS $$
BEGIN
    PERFORM FROM stem.namespace n WHERE n.ns = p_ns AND n.channel = p_channel;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'another store of Stem' USING ERRCODE = 'STM01';
    END IF;
    RETURN p_ns;
END
$$;

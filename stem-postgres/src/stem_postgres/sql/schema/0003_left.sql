-- Version 3: what is left for later: keys that were locked, wakes that a commit tells.

-- Unique keys that somebody had locked when their messages ended. A sweep looks for them.
CREATE TABLE stem.loose_key (
    ns  integer NOT NULL,
    key text COLLATE "C" NOT NULL,
    PRIMARY KEY (ns, key)
);

-- By when a lock may go.
CREATE INDEX lock_over ON stem.lock (ns, keep_ms);

-- What a transaction of the caller's has to tell when it commits. Nothing ever stays in here: a row
-- goes as soon as it is written, and the trigger comes with the commit all the same.
CREATE UNLOGGED TABLE stem.untold (
    ns    integer NOT NULL,
    at_ms bigint,                                  -- when work of the queue can be taken
    queue text,
    id    text                                     -- or else: what has ended
);
CREATE OR REPLACE FUNCTION stem.tell_untold() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RETURN NULL; END $$;  -- until the functions are made
CREATE CONSTRAINT TRIGGER told_by_commit AFTER INSERT ON stem.untold
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION stem.tell_untold();

-- Whoever may use the tables beside them may use these: a step comes while workers run.
DO $$
DECLARE
    v_right record;
BEGIN
    FOR v_right IN
        SELECT t.made, a.privilege_type AS kind, CASE a.grantee
            WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END AS who
        FROM pg_class c JOIN (VALUES
            (to_regclass('stem.unique_key'), to_regclass('stem.loose_key')),
            (to_regclass('stem.sleeper'), to_regclass('stem.untold'))
        ) AS t (kept, made) ON c.oid = t.kept CROSS JOIN LATERAL aclexplode(c.relacl) AS a
    LOOP
        EXECUTE format('GRANT %s ON %s TO %s', v_right.kind, v_right.made, v_right.who);
    END LOOP;
END
$$;

-- They take their arguments in another form now.
DROP FUNCTION IF EXISTS stem.fetch(integer, bigint, text[], integer, bigint, text);
DROP FUNCTION IF EXISTS stem.let_go(integer, text, text);

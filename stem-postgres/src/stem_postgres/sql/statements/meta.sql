-- Who answers, and what there is of Stem.

-- name: facts
SELECT
    current_setting('server_version_num')::int,
    current_setting('server_version'),
    current_setting('server_encoding'),
    current_setting('fsync'),
    current_setting('synchronous_commit'),
    pg_is_in_recovery(),
    (SELECT setting FROM pg_settings WHERE name = 'statement_timeout')::int,
    (SELECT system_identifier FROM pg_control_system())::text,
    (SELECT oid FROM pg_database WHERE datname = current_database())::text,
    (SELECT oid FROM pg_namespace WHERE nspname = %s)::text,
    EXISTS (
        SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = %s AND c.relname = 'version'
    );

-- name: version
-- and what whoever made the functions has left there
SELECT version, coalesce(obj_description('stem.version'::regclass, 'pg_class'), '')
FROM stem.version;

-- name: namespace
SELECT ns, channel FROM stem.namespace WHERE name = %s;

-- name: add_namespace
INSERT INTO stem.namespace (name, channel)
VALUES (%s, 'stem_' || replace(gen_random_uuid()::text, '-', ''))
ON CONFLICT (name) DO NOTHING;

-- name: channel_of
SELECT channel FROM stem.namespace WHERE ns = %s::int;

-- name: write_and_read
-- For the health check: a row as it is. Its table is logged, unlike that of who sleeps, so this
-- commit waits for the disk and for a synchronous standby, as that of a task does.
UPDATE stem.namespace SET channel = channel WHERE ns = %s::int RETURNING channel;

-- name: alone
-- Only one process at a time makes tables.
SELECT pg_advisory_xact_lock(7314159);

-- name: set_version
UPDATE stem.version SET version = %s;

-- name: lock_migrations
-- One migrator at a time; released with the transaction.
SELECT pg_advisory_xact_lock(7015302, 1);

-- name: create_migrations
-- The record of what was applied.
CREATE TABLE IF NOT EXISTS schema_migrations (
    name        text PRIMARY KEY,
    checksum    text NOT NULL,
    applied_at  timestamptz NOT NULL DEFAULT now()
);

-- name: list_migrations
-- What was applied already.
SELECT name, checksum FROM schema_migrations;

-- name: record_migration
-- One more is applied.
INSERT INTO schema_migrations (name, checksum) VALUES ($1, $2);
